/* Holds the runtime's C library to its header, as C11 and as C++11. Prints what does not hold.
 *
 *     runtime MODEL.cardinal TWO.cardinal     the digits model for this CPU, and for two
 *
 * The same model is linked as an object: it shares nothing with the library but the kernels, and
 * says what the library should. */
#include "cardinal_runtime.h"
#include "digits.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = digits_INPUT0_ELEMENTS, CLASSES = digits_OUTPUT0_ELEMENTS, THREADS = 4 };

static int failures = 0;

#define HOLDS(condition) holds((condition) ? 1 : 0, #condition, __LINE__)

static void holds(int good, const char *condition, int line) {
    if (good) return;
    printf("line %d: %s does not hold; last error: %s\n", line, condition, cardinal_last_error());
    failures++;
}

/* Whether a call failed in this way, with this in its text. */
#define FAILS(call, status, text) HOLDS((call) == (status) && strstr(cardinal_last_error(), text))

static float image[PIXELS], expected[CLASSES];

/* Bytes of a file, one past an aligned address. To be freed at `*memory`. */
static unsigned char *read_file(const char *path, size_t *length, unsigned char **memory) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) exit(2);
    *length = (size_t)ftell(file);
    rewind(file);
    *memory = (unsigned char *)malloc(*length + 1);
    if (!*memory || fread(*memory + 1, 1, *length, file) != *length) exit(2);
    fclose(file);
    return *memory + 1;
}

static CardinalStatus run(CardinalSession *session, const float *in, float *out) {
    const CardinalInput input = {in, PIXELS * sizeof(float)};
    const CardinalOutput output = {out, CLASSES * sizeof(float)};
    return cardinal_session_run(session, &input, 1, &output, 1);
}

/* Runs the model in a new session, and frees the program first. */
static void check_result(CardinalProgram *program, size_t threads, int free_program) {
    CardinalSession *session = NULL;
    float logits[CLASSES] = {0};
    HOLDS(cardinal_session_new(program, threads, &session) == CARDINAL_STATUS_OK);
    if (free_program) cardinal_program_free(program);
    for (int i = 0; i < 20; i++) {
        HOLDS(run(session, image, logits) == CARDINAL_STATUS_OK);
        HOLDS(memcmp(logits, expected, sizeof expected) == 0);
    }
    cardinal_session_free(session);
}

/* Two sessions of one pool, which outlive its handle. */
static void check_pool(const CardinalProgram *program) {
    CardinalPool *pool = NULL;
    CardinalSession *sessions[2] = {NULL, NULL};
    FAILS(cardinal_pool_new(1, NULL), CARDINAL_STATUS_ARGUMENT, "pool is null");
    FAILS(cardinal_pool_new(100000, &pool), CARDINAL_STATUS_ARGUMENT, "100000");
    HOLDS(cardinal_pool_new(2, &pool) == CARDINAL_STATUS_OK);
    FAILS(cardinal_session_with_pool(program, NULL, sessions), CARDINAL_STATUS_ARGUMENT,
          "pool is null");
    for (int i = 0; i < 2; i++) {
        HOLDS(cardinal_session_with_pool(program, pool, &sessions[i]) == CARDINAL_STATUS_OK);
    }
    cardinal_pool_free(pool);
    cardinal_pool_free(NULL);
    for (int i = 0; i < 20; i++) {
        float logits[CLASSES] = {0};
        HOLDS(run(sessions[i % 2], image, logits) == CARDINAL_STATUS_OK);
        HOLDS(memcmp(logits, expected, sizeof expected) == 0);
    }
    for (int i = 0; i < 2; i++) cardinal_session_free(sessions[i]);
}

static void check_loading(const char *model, const char *two) {
    CardinalProgram *program = NULL;
    FAILS(cardinal_program_open(NULL, NULL, &program), CARDINAL_STATUS_ARGUMENT, "path is null");
    FAILS(cardinal_program_open(model, NULL, NULL), CARDINAL_STATUS_ARGUMENT, "program is null");
    FAILS(cardinal_program_open("no/such", NULL, &program), CARDINAL_STATUS_IO, "no/such");
    FAILS(cardinal_program_open("/", NULL, &program), CARDINAL_STATUS_IO, "not a regular file");
    FAILS(cardinal_program_open("/dev/null", NULL, &program), CARDINAL_STATUS_IO, "regular");
    FAILS(cardinal_program_open("digits.h", NULL, &program), CARDINAL_STATUS_ARTIFACT, "\nhelp: ");
    FAILS(cardinal_program_open(two, "x86-64-v9", &program), CARDINAL_STATUS_UNSUPPORTED,
          "help: it has code for x86-64, x86-64-v2");
    FAILS(cardinal_program_open(two, "\xff", &program), CARDINAL_STATUS_ARGUMENT, "not UTF-8");
    HOLDS(program == NULL);

    HOLDS(cardinal_program_open(two, "x86-64", &program) == CARDINAL_STATUS_OK);
    HOLDS(strcmp(cardinal_program_info(program)->variant, "x86-64") == 0);
    cardinal_program_free(program);
    HOLDS(cardinal_program_open(two, NULL, &program) == CARDINAL_STATUS_OK);
    HOLDS(strcmp(cardinal_program_info(program)->variant, "x86-64-v2") == 0);
    cardinal_program_free(program);
}

static void check_bytes(const char *model) {
    size_t length;
    unsigned char *memory, *bytes = read_file(model, &length, &memory);
    CardinalProgram *program = NULL;
    FAILS(cardinal_program_from_bytes(NULL, 9, NULL, &program), CARDINAL_STATUS_ARGUMENT, "bytes");
    FAILS(cardinal_program_from_bytes(NULL, 0, NULL, &program), CARDINAL_STATUS_ARTIFACT, "");
    FAILS(cardinal_program_from_bytes(bytes, (size_t)-1, NULL, &program), CARDINAL_STATUS_ARGUMENT,
          "longer than memory");
    for (size_t cut = 0; cut < length; cut += length / 50 + 1) {
        FAILS(cardinal_program_from_bytes(bytes, cut, NULL, &program), CARDINAL_STATUS_ARTIFACT, "");
    }
    for (size_t at = 0; at < length; at += length / 50 + 1) {
        bytes[at] ^= 0x10;
        FAILS(cardinal_program_from_bytes(bytes, length, NULL, &program), CARDINAL_STATUS_ARTIFACT,
              "");
        bytes[at] ^= 0x10;
    }
    HOLDS(program == NULL);
    HOLDS(cardinal_program_from_bytes(bytes, length, NULL, &program) == CARDINAL_STATUS_OK);
    memset(memory, 0, length + 1); /* The program has a copy. */
    free(memory);
    check_result(program, 1, 1);
}

static void check_info(const CardinalProgram *program) {
    const size_t in[] = digits_INPUT0_SHAPE, out[] = digits_OUTPUT0_SHAPE;
    const CardinalProgramInfo *info = cardinal_program_info(program);
    HOLDS(cardinal_program_info(NULL) == NULL);
    HOLDS(strcmp(info->model_name, digits_MODEL) == 0);
    HOLDS(strcmp(info->model_digest, digits_MODEL_BLAKE3) == 0);
    HOLDS(strstr(digits_COMPILER, info->compiler_version) != NULL);
    HOLDS(strcmp(info->compiler_version, cardinal_version()) == 0);
    HOLDS(strcmp(info->target, digits_TARGET) == 0);
    HOLDS(info->input_count == digits_INPUTS && info->output_count == digits_OUTPUTS);
    HOLDS(strcmp(info->inputs->name, digits_INPUT0_NAME) == 0);
    HOLDS(info->inputs->dtype == CARDINAL_DTYPE_F32 && info->outputs->dtype == CARDINAL_DTYPE_F32);
    HOLDS(info->inputs->rank == digits_INPUT0_RANK && info->outputs->rank == digits_OUTPUT0_RANK);
    HOLDS(memcmp(info->inputs->shape, in, sizeof in) == 0);
    HOLDS(memcmp(info->outputs->shape, out, sizeof out) == 0);
    HOLDS(info->inputs->bytes == digits_INPUT0_BYTES);
    HOLDS(strcmp(info->outputs->name, digits_OUTPUT0_NAME) == 0);
    HOLDS(info->outputs->bytes == digits_OUTPUT0_BYTES);
    for (size_t i = 0; i < info->metadata_count; i++) {
        HOLDS(strlen(info->metadata[i].key) > 0 && info->metadata[i].value != NULL);
    }
}

static void check_misuse(const CardinalProgram *program) {
    CardinalSession *session = NULL;
    FAILS(cardinal_session_new(NULL, 1, &session), CARDINAL_STATUS_ARGUMENT, "program is null");
    FAILS(cardinal_session_new(program, 1, NULL), CARDINAL_STATUS_ARGUMENT, "session is null");
    FAILS(cardinal_session_new(program, 100000, &session), CARDINAL_STATUS_ARGUMENT, "100000");
    FAILS(cardinal_session_new(program, (size_t)-1, &session), CARDINAL_STATUS_ARGUMENT, "threads");
    HOLDS(session == NULL);
    HOLDS(cardinal_session_new(program, 2, &session) == CARDINAL_STATUS_OK);

    float memory[PIXELS + CLASSES + 1] = {0}, *out = memory + PIXELS;
    const size_t in_bytes = PIXELS * sizeof(float), out_bytes = CLASSES * sizeof(float);
    const CardinalInput good = {memory, in_bytes};
    const CardinalOutput place = {out, out_bytes};
#define REFUSED(in, ins, o, outs, text) \
    FAILS(cardinal_session_run(session, in, ins, o, outs), CARDINAL_STATUS_ARGUMENT, text)
    FAILS(cardinal_session_run(NULL, &good, 1, &place, 1), CARDINAL_STATUS_ARGUMENT, "session is");
    REFUSED(NULL, 1, &place, 1, "inputs is null");
    REFUSED(&good, 1, NULL, 1, "outputs is null");
    REFUSED(&good, 0, &place, 1, "1 input(s), 0 given");
    REFUSED(&good, 1, &place, 0, "1 output(s), 0 given");
    const CardinalInput two[] = {good, good};
    REFUSED(two, 2, &place, 1, "1 input(s), 2 given");
    const CardinalInput null_data = {NULL, in_bytes}, empty = {NULL, 0}, brief = {memory, 4},
                        odd = {(char *)memory + 1, in_bytes};
    REFUSED(&null_data, 1, &place, 1, "input 0 has 3136 bytes, but its data is null");
    REFUSED(&empty, 1, &place, 1, "\"input\" is f32[1, 1, 28, 28] of 3136 bytes, 0 bytes given");
    REFUSED(&brief, 1, &place, 1, "3136 bytes, 4 bytes given");
    const CardinalOutput apart = {image, out_bytes};
    REFUSED(&odd, 1, &apart, 1, "\"input\" is not aligned to its elements of 4 bytes");
    const CardinalOutput no_place = {NULL, out_bytes}, wide = {out, out_bytes + 4},
                         odd_place = {(char *)out + 2, out_bytes}, inside = {out - 1, out_bytes};
    REFUSED(&good, 1, &no_place, 1, "output 0 has 40 bytes, but its data is null");
    REFUSED(&good, 1, &wide, 1, "\"output\" is f32[1, 10] of 40 bytes, 44 bytes given");
    REFUSED(&good, 1, &odd_place, 1, "\"output\" is not aligned");
    REFUSED(&good, 1, &inside, 1, "output 0 overlaps another tensor");
    const CardinalOutput twice[] = {place, place};
    REFUSED(&good, 1, twice, 2, "output 1 overlaps another tensor");
    for (int i = 0; i < CLASSES; i++) HOLDS(out[i] == 0);

    /* Minimally aligned, side by side, and after all that. */
    memcpy(memory, image, in_bytes);
    HOLDS(run(session, memory, out) == CARDINAL_STATUS_OK);
    HOLDS(memcmp(out, expected, out_bytes) == 0 && out[CLASSES] == 0);
    cardinal_session_free(session);
    cardinal_session_free(NULL);
    cardinal_program_free(NULL);
}

static void *run_often(void *program) {
    CardinalSession *session = NULL;
    float logits[CLASSES] = {0};
    int wrong = strcmp(cardinal_last_error(), "") != 0; /* Errors are other threads'. */
    wrong += cardinal_session_new((CardinalProgram *)program, 1, &session) != CARDINAL_STATUS_OK;
    for (int i = 0; i < 100; i++) {
        wrong += run(session, image, logits) != CARDINAL_STATUS_OK;
        wrong += memcmp(logits, expected, sizeof expected) != 0;
    }
    cardinal_session_free(session);
    return wrong ? program : NULL;
}

static void check_threads(CardinalProgram *program) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, run_often, program) != 0) exit(2);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        HOLDS(wrong == NULL);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    unsigned char *arena = (unsigned char *)malloc(digits_ARENA_BYTES + digits_ARENA_ALIGN);
    if (!arena) return 2;
    unsigned char *aligned = arena + digits_ARENA_ALIGN - (size_t)arena % digits_ARENA_ALIGN;
    for (int i = 0; i < PIXELS; i++) image[i] = (float)(i * 37 % 101) / 50 - 1;
    HOLDS(digits_run(image, expected, aligned) == digits_OK);
    free(arena);

    HOLDS(strcmp(cardinal_last_error(), "") == 0);
    check_loading(argv[1], argv[2]);
    check_bytes(argv[1]);
    CardinalProgram *program = NULL;
    HOLDS(cardinal_program_open(argv[1], NULL, &program) == CARDINAL_STATUS_OK);
    check_info(program);
    check_pool(program);
    check_misuse(program);
    check_threads(program);
    for (size_t threads = 1; threads < 4; threads++) check_result(program, threads, 0);
    check_result(program, 0, 1);
    printf("%d failures\n", failures);
    return failures != 0;
}
