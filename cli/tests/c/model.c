/* Runs a model that is linked as an object: inputs from stdin, outputs to stdout, as raw f32.
 *
 *     model THREADS       on threads of its own, or with 0 by the function that takes none */
#include "model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 16 };

/* One thread's part of a layer. */
struct part {
    model_kernel kernel;
    const void *args;
    size_t begin, end, worker;
};

static void *run_part(void *given) {
    const struct part *part = given;
    part->kernel(part->args, part->begin, part->end, part->worker);
    return NULL;
}

static void run_on_threads(void *context, model_kernel kernel, const void *args, size_t items) {
    const size_t threads = *(const size_t *)context;
    struct part parts[MOST];
    pthread_t others[MOST];
    for (size_t worker = 0; worker < threads; worker++) {
        const size_t begin = items * worker / threads, end = items * (worker + 1) / threads;
        parts[worker] = (struct part){kernel, args, begin, end, worker};
        if (pthread_create(&others[worker], NULL, run_part, &parts[worker]) != 0) abort();
    }
    for (size_t worker = 0; worker < threads; worker++) pthread_join(others[worker], NULL);
}

static float in[model_INPUT0_ELEMENTS], out[model_OUTPUT0_ELEMENTS];

int main(int argc, char **argv) {
    size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (threads > MOST || fread(in, sizeof in, 1, stdin) != 1) return 2;
    void *arena = aligned_alloc(model_ARENA_ALIGN, model_ARENA_BYTES_FOR(threads ? threads : 1));
    if (arena == NULL) return 1;
    int status = threads ? model_run_parallel(in, out, arena, run_on_threads, &threads, threads)
                         : model_run(in, out, arena);
    free(arena);
    return status != model_OK || fwrite(out, sizeof out, 1, stdout) != 1;
}
