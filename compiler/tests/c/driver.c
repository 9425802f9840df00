/* Runs the model m: inputs come from stdin one after another, outputs go to stdout, as raw bytes.
 *
 *     driver THREADS      0 for m_run, else m_run_parallel
 *
 * tensors.h, which a test writes, has lists by input and output: INPUT_BYTES, INPUT_ALIGN,
 * OUTPUT_BYTES, OUTPUT_ALIGN, and ARGUMENTS, the casts of in[i] and out[i] to parameters.
 *
 * Memory is as bad as the header allows: tensors are aligned to their elements and no more, and
 * nothing is clear. What lies around outputs and behind the arena must stay as it is. */
#include "m.h"
#include "tensors.h"

#include <float.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_THREADS 64
#define MARGIN 128

static void expect(int condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "driver: %s\n", what);
        exit(1);
    }
}

/* Whether this thread's arithmetic has denormals, as C promises. */
static int has_denormals(void) {
    volatile float smallest = FLT_MIN;
    volatile float half = smallest / 2;
    return half > 0 && half * 2 == smallest;
}

/* `bytes` at an address that is `align` more than a multiple of 64, in memory full of 0xA5. */
static unsigned char *rough(size_t bytes, size_t align) {
    size_t all = (bytes + 3 * MARGIN) / 64 * 64;
    unsigned char *memory = aligned_alloc(64, all);
    expect(memory != NULL, "no memory");
    memset(memory, 0xA5, all);
    return memory + 64 + align % 64;
}

static void expect_untouched(const unsigned char *memory, size_t bytes, const char *what) {
    for (size_t i = 0; i < bytes; i++) expect(memory[i] == 0xA5, what);
}

struct part {
    m_kernel kernel;
    const void *args;
    size_t begin, end, worker;
};

static void *work(void *context) {
    const struct part *part = context;
    /* A part in two halves, the second first, and an empty range. */
    size_t middle = part->begin + (part->end - part->begin) / 2;
    part->kernel(part->args, middle, part->end, part->worker);
    part->kernel(part->args, part->begin, middle, part->worker);
    part->kernel(part->args, part->end, part->end, part->worker);
    expect(has_denormals(), "a kernel left the floating-point mode changed");
    return NULL;
}

static void parallel_for(void *context, m_kernel kernel, const void *args, size_t items) {
    size_t threads = *(const size_t *)context;
    pthread_t handles[MOST_THREADS];
    struct part parts[MOST_THREADS];
    expect(has_denormals(), "the parallel-for runs in the model's floating-point mode");
    for (size_t i = 0; i < threads; i++) {
        struct part part = {kernel, args, items * i / threads, items * (i + 1) / threads, i};
        parts[i] = part;
        expect(pthread_create(&handles[i], NULL, work, &parts[i]) == 0, "no thread");
    }
    for (size_t i = 0; i < threads; i++) pthread_join(handles[i], NULL);
}

int main(int argc, char **argv) {
    static const size_t in_bytes[] = {INPUT_BYTES}, in_align[] = {INPUT_ALIGN};
    static const size_t out_bytes[] = {OUTPUT_BYTES}, out_align[] = {OUTPUT_ALIGN};
    size_t threads = argc > 1 ? (size_t)atoi(argv[1]) : 0;
    size_t used = threads ? m_ARENA_BYTES_FOR(threads) : (size_t)m_ARENA_BYTES;
    unsigned char *in[m_INPUTS + 1], *out[m_OUTPUTS], *arena = rough(used, 0);
    expect(threads <= MOST_THREADS, "too many threads");
    for (size_t i = 0; i < m_INPUTS; i++) {
        in[i] = rough(in_bytes[i], in_align[i]);
        expect(fread(in[i], 1, in_bytes[i], stdin) == in_bytes[i], "too little on stdin");
    }
    for (size_t i = 0; i < m_OUTPUTS; i++) out[i] = rough(out_bytes[i], out_align[i]);
    expect(m_cpu_supported() == 1, "the CPU is not supported");

    int status = threads ? m_run_parallel(ARGUMENTS, arena, parallel_for, &threads, threads)
                         : m_run(ARGUMENTS, arena);

    expect(status == m_OK, "the model did not run");
    expect(has_denormals(), "the model left the floating-point mode changed");
    expect_untouched(arena + used, MARGIN / 2, "the model wrote behind the arena");
    for (size_t i = 0; i < m_OUTPUTS; i++) {
        expect_untouched(out[i] - out_align[i], out_align[i], "the model wrote before an output");
        expect_untouched(out[i] + out_bytes[i], MARGIN / 2, "the model wrote behind an output");
        fwrite(out[i], 1, out_bytes[i], stdout);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
