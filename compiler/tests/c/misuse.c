/* Calls the model m, of one f32 input and output, in every wrong way that it promises to notice. */
#include "m.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(int status, int expected, const char *what) {
    if (status != expected) {
        fprintf(stderr, "%s: %d, not %d\n", what, status, expected);
        failures++;
    }
}

static int called;

static void right(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context;
    called++;
    for (size_t i = items; i > 0; i--) kernel(args, i - 1, i, i % 3);
}

static void lazy(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context;
    called++;
    if (items > 1) kernel(args, 1, items, 0);
}

static void idle(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context, (void)kernel, (void)args, (void)items;
}

static void twice(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context;
    kernel(args, 0, items, 0);
    kernel(args, 0, 1, 0);
}

static void beyond(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context;
    kernel(args, 0, items, 0);
    kernel(args, items, items + 1, 0);
}

static void backwards(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context;
    kernel(args, 0, items, 0);
    kernel(args, 1, 0, 0);
}

static void stranger(void *context, m_kernel kernel, const void *args, size_t items) {
    (void)context;
    kernel(args, 0, items, 3);
}

/* Every number of images gives the rows of all, and touches no other. */
static void images(float *in, float *out, char *arena) {
    size_t image = m_OUTPUT0_ELEMENTS / m_MOST_IMAGES;
    float *all = calloc(m_OUTPUT0_ELEMENTS, 4);
    for (size_t i = 0; i < m_INPUT0_ELEMENTS; i++) in[i] = (float)(i * 7 % 101) / 101;
    expect(m_LEAST_IMAGES, 1, "the fewest images");
    expect(m_run(in, all, arena), m_OK, "all images");
    for (size_t n = 1; n <= m_MOST_IMAGES; n++) {
        memset(out, 0x55, m_OUTPUT0_BYTES);
        if (n % 2) expect(m_run_images(n, in, out, arena, NULL, NULL, 1), m_OK, "images");
        else expect(m_run_images(n, in, out, arena, right, NULL, 3), m_OK, "images on threads");
        expect(memcmp(out, all, n * image * 4) == 0, 1, "rows of images");
        for (size_t i = n * image * 4; i < m_OUTPUT0_BYTES; i++)
            if (((char *)out)[i] != 0x55) failures++;
    }
    expect(m_run_images(0, in, out, arena, NULL, NULL, 1), m_ERROR_IMAGES, "no images");
    expect(m_run_images(m_MOST_IMAGES + 1, in, out, arena, right, NULL, 3), m_ERROR_IMAGES, "too many");
    expect(m_run_images((size_t)-1, in, out, arena, right, NULL, 3), m_ERROR_IMAGES, "absurdly many");
    expect(m_run_images(1, in, out, arena, NULL, NULL, 2), m_ERROR_NULL, "no parallel-for");
    free(all);
}

int main(void) {
    char *arena = aligned_alloc(64, (m_ARENA_BYTES_FOR(3) + 127) / 64 * 64);
    float *in = calloc(m_INPUT0_ELEMENTS + 1, 4), *out = calloc(m_OUTPUT0_ELEMENTS + 1, 4);
    float *odd_in = (float *)((char *)in + 2), *odd_out = (float *)((char *)out + 1);

    expect(m_run(NULL, out, arena), m_ERROR_NULL, "no input");
    expect(m_run(in, NULL, arena), m_ERROR_NULL, "no output");
    expect(m_run(in, out, NULL), m_ERROR_NULL, "no arena");
    expect(m_run(in, out, arena + 32), m_ERROR_ARENA_ALIGN, "arena");
    expect(m_run(odd_in, out, arena), m_ERROR_TENSOR_ALIGN, "input");
    expect(m_run(in, odd_out, arena), m_ERROR_TENSOR_ALIGN, "output");
    expect(m_run(in, out, arena), m_OK, "run");

    expect(m_run_parallel(in, out, arena, right, NULL, 0), m_ERROR_THREADS, "no threads");
    expect(m_run_parallel(in, out, arena, NULL, NULL, 2), m_ERROR_NULL, "no parallel-for");
    expect(m_run_parallel(in, out, arena + 1, right, NULL, 3), m_ERROR_ARENA_ALIGN, "arena");
    expect(called, 0, "calls of the parallel-for");
    expect(m_run_parallel(in, out, arena, NULL, NULL, 1), m_OK, "one thread");
    expect(m_run_parallel(in, out, arena, right, NULL, 3), m_OK, "three threads");
    expect(called > 1, 1, "the parallel-for is called more than once");

    called = 0;
    expect(m_run_parallel(in, out, arena, lazy, NULL, 3), m_ERROR_PARALLEL_FOR, "item 0 left out");
    expect(called, 1, "calls of a parallel-for that does wrong");
    expect(m_run_parallel(in, out, arena, idle, NULL, 3), m_ERROR_PARALLEL_FOR, "all left out");
    expect(m_run_parallel(in, out, arena, twice, NULL, 3), m_ERROR_PARALLEL_FOR, "done twice");
    expect(m_run_parallel(in, out, arena, beyond, NULL, 3), m_ERROR_PARALLEL_FOR, "beyond");
    expect(m_run_parallel(in, out, arena, backwards, NULL, 3), m_ERROR_PARALLEL_FOR, "backwards");
    expect(m_run_parallel(in, out, arena, stranger, NULL, 3), m_ERROR_PARALLEL_FOR, "worker 3");
    expect(m_run_parallel(in, out, arena, right, NULL, 3), m_OK, "afterwards");
    images(in, out, arena);
    return failures != 0;
}
