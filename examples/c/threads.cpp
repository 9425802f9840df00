// Runs the digits model on the program's own threads, and checks that they change nothing.
//
//     threads [COUNT]        prints the logits of a made-up image
//
// digits.o (or digits.so) and digits.h are made by `cardinal compile`; see the Makefile.
#include "digits.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

// A parallel-for in its simplest form: it starts threads for each layer. A program that runs a
// model more than once keeps a pool, since starting a thread takes longer than most layers.
extern "C" void run_on_threads(void *context, digits_kernel kernel, const void *args,
                               size_t items) {
    const size_t threads = std::min(*static_cast<const size_t *>(context), items);
    std::vector<std::thread> others;
    for (size_t worker = 1; worker < threads; worker++) {
        const size_t begin = items * worker / threads, end = items * (worker + 1) / threads;
        others.emplace_back([=] { kernel(args, begin, end, worker); });
    }
    kernel(args, 0, items / threads, 0);
    for (std::thread &other : others) other.join();
}

// Memory for `threads` threads, aligned: C++11's new aligns to less.
struct Arena {
    explicit Arena(size_t threads)
        : memory(new unsigned char[digits_ARENA_BYTES_FOR(threads) + digits_ARENA_ALIGN]) {
        void *start = memory.get();
        size_t space = digits_ARENA_BYTES_FOR(threads) + digits_ARENA_ALIGN;
        aligned = std::align(digits_ARENA_ALIGN, digits_ARENA_BYTES_FOR(threads), start, space);
    }
    std::unique_ptr<unsigned char[]> memory;
    void *aligned;
};

int main(int argc, char **argv) {
    const long count = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2;
    if (count < 1 || count > 256) {
        std::fprintf(stderr, "threads: COUNT is a number from 1 to 256\n");
        return 2;
    }
    if (!digits_cpu_supported()) {
        std::fprintf(stderr, "threads: this CPU lacks some of %s\n", digits_CPU_FEATURES);
        return 1;
    }
    size_t threads = static_cast<size_t>(count);
    float image[digits_INPUT0_ELEMENTS], alone[digits_OUTPUT0_ELEMENTS],
        together[digits_OUTPUT0_ELEMENTS];
    for (size_t i = 0; i < digits_INPUT0_ELEMENTS; i++) {
        image[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
    }
    int status = digits_run(image, alone, Arena(1).aligned);
    if (status == digits_OK) {
        status = digits_run_parallel(image, together, Arena(threads).aligned, run_on_threads,
                                     &threads, threads);
    }
    if (status != digits_OK) {
        std::fprintf(stderr, "threads: error %d\n", status);
        return 1;
    }
    for (float logit : together) std::printf("%.6f\n", static_cast<double>(logit));
    if (std::memcmp(alone, together, sizeof alone) != 0) {
        std::fprintf(stderr, "threads: results differ\n");
        return 1;
    }
    return 0;
}
