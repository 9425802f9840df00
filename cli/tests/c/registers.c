/* Calls a model's own function and the runtime's with patterns in the registers that a function must
 * restore, and looks at what it must leave as it was (System V ABI for x86-64, 3.2.1): those registers, the
 * direction flag, the control words of SSE and x87, and clean upper halves of vectors. Prints what is not.
 *
 *     registers MODEL.cardinal        the digits model, which is linked as an object too */
#include "cardinal_runtime.h"
#include "digits.h"

#include <cpuid.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

enum { PIXELS = digits_INPUT0_ELEMENTS, CLASSES = digits_OUTPUT0_ELEMENTS };

static alignas(digits_ARENA_ALIGN) unsigned char arena[digits_ARENA_BYTES];
static float image[PIXELS], logits[CLASSES];

/* What the trampoline finds behind the call; it knows the offsets. */
struct seen {
    uint64_t registers[6], flags, status, in_use[2], tells;
    uint32_t mxcsr, x87;
};

/* Calls a function of five pointers, of which it may take fewer. */
void trampoline(void *function, void *const arguments[5], struct seen *seen);

__asm__(".text\n"
        "trampoline:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdx\n"
        "  mov %rdi, %r11; mov %rsi, %r10; mov %rdx, %r9\n"
        "  cmpq $0, 80(%r9); je 1f\n"
        "  vzeroupper; mov $1, %ecx; xgetbv; mov %eax, 64(%r9)\n"
        "1: mov (%r10), %rdi; mov 8(%r10), %rsi; mov 16(%r10), %rdx; mov 24(%r10), %rcx; mov 32(%r10), %r8\n"
        "  movabs $0x1111111111111111, %rbx; movabs $0x2222222222222222, %rbp\n"
        "  movabs $0x3333333333333333, %r12; movabs $0x4444444444444444, %r13\n"
        "  movabs $0x5555555555555555, %r14; movabs $0x6666666666666666, %r15\n"
        "  call *%r11\n"
        "  mov (%rsp), %r9\n"
        "  mov %rbx, (%r9); mov %rbp, 8(%r9); mov %r12, 16(%r9)\n"
        "  mov %r13, 24(%r9); mov %r14, 32(%r9); mov %r15, 40(%r9)\n"
        "  pushfq; popq 48(%r9); cld\n"
        "  mov %eax, 56(%r9); stmxcsr 88(%r9); fnstcw 92(%r9)\n"
        "  cmpq $0, 80(%r9); je 2f\n"
        "  mov $1, %ecx; xgetbv; mov %eax, 72(%r9)\n"
        "2: pop %rdx; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n"
        ".section .note.GNU-stack,\"\",@progbits\n"
        ".text\n");

/* Whether `xgetbv` with 1 says which state is in use, and with it AVX. */
static int tells_what_is_in_use(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(0xd, 1, &a, &b, &c, &d) || !(a & 4)) return 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX) && (c & bit_OSXSAVE);
}

static int failures = 0;

static void fails(const char *function, const char *what) {
    printf("%s: %s\n", function, what);
    failures++;
}

static void check(const char *name, void *function, void *const arguments[5]) {
    struct seen seen;
    uint32_t mxcsr;
    uint16_t x87;
    memset(&seen, 0, sizeof seen);
    seen.tells = (uint64_t)tells_what_is_in_use();
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    trampoline(function, arguments, &seen);
    for (uint64_t i = 0; i < 6; i++) {
        if (seen.registers[i] != 0x1111111111111111u * (i + 1)) fails(name, "a callee-saved register");
    }
    if (seen.flags & 1 << 10) fails(name, "the direction flag");
    /* The lowest six bits are exceptions that happened, which are nobody's. */
    if ((seen.mxcsr ^ mxcsr) & ~0x3fu) fails(name, "MXCSR");
    if ((seen.x87 & 0xffff) != x87) fails(name, "the control word of x87");
    if (seen.in_use[1] & ~seen.in_use[0] & (1 << 2 | 1 << 6)) fails(name, "upper halves of vectors");
    if (seen.status != 0) fails(name, "the call failed");
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    void *const object[5] = {image, logits, arena};
    check("digits_run", (void *)(uintptr_t)digits_run, object);
    for (size_t threads = 1; threads <= 3; threads++) {
        CardinalProgram *program = NULL;
        CardinalSession *session = NULL;
        CardinalInput in = {image, sizeof image};
        CardinalOutput out = {logits, sizeof logits};
        if (cardinal_program_open(arguments[1], NULL, &program) != CARDINAL_STATUS_OK) return 2;
        if (cardinal_session_new(program, threads, &session) != CARDINAL_STATUS_OK) return 2;
        void *const library[5] = {session, &in, (void *)1, &out, (void *)1};
        check("cardinal_session_run", (void *)(uintptr_t)cardinal_session_run, library);
        cardinal_session_free(session);
        cardinal_program_free(program);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
