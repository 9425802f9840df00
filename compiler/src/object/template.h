/* A model compiled by Cardinal, for linking with the object file or shared library beside this.
 *
 *     alignas(@name@_ARENA_ALIGN) static unsigned char arena[@name@_ARENA_BYTES];
 *
 *     if (!@name@_cpu_supported()) { ... }
 *     int status = @name@_run(@arguments@, arena);
 *
 * Tensors are dense and row-major, and aligned to their elements. Tensors and arena do not overlap.
 * The functions allocate nothing, call nothing of the system, and have no variables of their own, so
 * that any number of threads may call them at once, each with an arena and outputs of its own.
 * Results have the same bits for any number of threads, and in every CPU that supports the code. */
#ifndef CARDINAL_@name@_H
#define CARDINAL_@name@_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @name@_MODEL @model@
#define @name@_MODEL_BLAKE3 @digest@
#define @name@_COMPILER @compiler@
#define @name@_TARGET @target@

/* What the code needs of the CPU beyond the target's baseline. Elsewhere it ends in an illegal
 * instruction: ask @name@_cpu_supported first, once. */
#define @name@_CPU_FEATURES @features@

/* Inputs and outputs in the order of the parameters: name in the model, element type, rank and
 * extents (outermost first; those of rank 0 are {1}), elements and bytes. */
@tensors@
/* How many images @name@_run_images takes: the outermost extents of inputs and outputs. Where all
 * must be there, both are the same. */
#define @name@_LEAST_IMAGES @least@
#define @name@_MOST_IMAGES @most@

/* Scratch memory. It needs no clearing, and keeps nothing between calls. */
#define @name@_ARENA_ALIGN @alignment@
#define @name@_ARENA_BYTES @arena@
/* The same for @name@_run_parallel. */
#define @name@_ARENA_BYTES_FOR(threads) ((size_t)@base@ + (size_t)@worker@ * (size_t)(threads))

/* What the functions return. */
enum {
    @name@_OK = @ok@,
    /* A pointer is null. */
    @name@_ERROR_NULL = @null@,
    /* The arena is not aligned to @name@_ARENA_ALIGN. */
    @name@_ERROR_ARENA_ALIGN = @arena_align@,
    /* A tensor is not aligned to its elements. */
    @name@_ERROR_TENSOR_ALIGN = @tensor_align@,
    /* The number of threads is 0. */
    @name@_ERROR_THREADS = @threads@,
    /* The parallel-for left out items, did some twice, or called the kernel with a range or a worker
     * that there is not. What is in the outputs means nothing. */
    @name@_ERROR_PARALLEL_FOR = @parallel_for@,
    /* There are fewer images than @name@_LEAST_IMAGES, or more than @name@_MOST_IMAGES. */
    @name@_ERROR_IMAGES = @images@
};

/* 1 if this CPU and its operating system have what the code needs, else 0. */
int @name@_cpu_supported(void);

/* Runs the model on the calling thread. Returns @name@_OK, or what is wrong with the arguments, in
 * which case nothing was written. */
int @name@_run(@parameters@, void *arena);

/* Does items begin <= i < end of its work. `args` is what the parallel-for got. `worker` says which
 * scratch memory to use: calls that run at the same time have different workers, all less than the
 * number of threads. */
typedef void (*@name@_kernel)(const void *args, size_t begin, size_t end, size_t worker);

/* Calls kernel(args, begin, end, worker) on ranges that cover 0 <= i < items, each item in one of
 * them, in any order and on any threads, and returns when all of them have returned and what they
 * wrote can be read by the calling thread. It neither throws nor jumps out. */
typedef void (*@name@_parallel_for)(void *context, @name@_kernel kernel, const void *args,
                                    size_t items);

/* Runs the model on several threads, which are the caller's: layer by layer through parallel_for,
 * which is called on the calling thread with `context`. `arena` has @name@_ARENA_BYTES_FOR(threads)
 * bytes. With one thread parallel_for is not called and may be null. */
int @name@_run_parallel(@parameters@, void *arena, @name@_parallel_for parallel_for,
                        void *context, size_t threads);

/* The same for `images` images, which are all that inputs and outputs have. The work of those
 * that are not there is left out, and an image's results have the same bits whatever the number is. */
int @name@_run_images(size_t images, @parameters@, void *arena,
                      @name@_parallel_for parallel_for, void *context, size_t threads);

#ifdef __cplusplus
}
#endif

#endif
