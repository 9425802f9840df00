/* Cardinal's runtime: loads and runs models compiled by Cardinal.
 *
 *     CardinalProgram *program = NULL;
 *     CardinalSession *session = NULL;
 *     if (cardinal_program_open("model.cardinal", NULL, &program) != CARDINAL_STATUS_OK ||
 *         cardinal_session_new(program, 1, &session) != CARDINAL_STATUS_OK) {
 *         fprintf(stderr, "%s\n", cardinal_last_error());
 *     }
 *
 * Link with -lcardinal_runtime, or with libcardinal_runtime.a and -lpthread -ldl -lm.
 *
 * Threads: all functions may be called from any thread at any time, on condition that nothing is
 * freed while it is in use. A program is shared; a session runs in one thread at a time, and is busy
 * for others meanwhile. For parallel inferences, make a session for each thread, of one program; those
 * of one pool share its threads.
 *
 * Misuse: null, counts, sizes, alignment, overlaps and busy sessions are checked, and are errors. A
 * pointer that is wrong in another way, or freed, is undefined, as everywhere in C. */

#ifndef CARDINAL_RUNTIME_H
#define CARDINAL_RUNTIME_H

/* Made by cbindgen from runtime/c/src: change it there. */

#include <stddef.h>

/**
 * What functions return. A function that fails has changed nothing that its caller can see, but
 * for the text of cardinal_last_error.
 */
typedef enum {
    /**
     * Done.
     */
    CARDINAL_STATUS_OK = 0,
    /**
     * An argument is null, or is not what the function or the model wants.
     */
    CARDINAL_STATUS_ARGUMENT = 1,
    /**
     * The session is running in another thread.
     */
    CARDINAL_STATUS_BUSY = 2,
    /**
     * The file cannot be read.
     */
    CARDINAL_STATUS_IO = 3,
    /**
     * The file is no artifact, is damaged, or has another version of the format.
     */
    CARDINAL_STATUS_ARTIFACT = 4,
    /**
     * The artifact has no code that this machine can run, or none of the name asked for.
     */
    CARDINAL_STATUS_UNSUPPORTED = 5,
    /**
     * The system gives no more memory or threads, or lets no generated code run.
     */
    CARDINAL_STATUS_RESOURCES = 6,
    /**
     * A bug in Cardinal. Free what took part.
     */
    CARDINAL_STATUS_INTERNAL = 7,
} CardinalStatus;

/**
 * The type of a tensor's elements.
 */
typedef enum {
    /**
     * float: IEEE 754 binary32.
     */
    CARDINAL_DTYPE_F32 = 1,
    /**
     * double: IEEE 754 binary64.
     */
    CARDINAL_DTYPE_F64 = 2,
    /**
     * int64_t.
     */
    CARDINAL_DTYPE_I64 = 3,
    /**
     * int32_t.
     */
    CARDINAL_DTYPE_I32 = 4,
    /**
     * uint8_t.
     */
    CARDINAL_DTYPE_U8 = 5,
    /**
     * int8_t.
     */
    CARDINAL_DTYPE_I8 = 6,
    /**
     * A byte that is 0 or 1.
     */
    CARDINAL_DTYPE_BOOL = 7,
} CardinalDtype;

/**
 * Threads that sessions share: each session that is made with them can run at the same time as the
 * others, and starts none of its own.
 */
typedef struct CardinalPool CardinalPool;

/**
 * A loaded model. It never changes: any number of threads may use it at once.
 */
typedef struct CardinalProgram CardinalProgram;

/**
 * The memory and the threads for one inference at a time. Sessions of one program share its weights
 * and code. A session may move from thread to thread, but runs in one at a time.
 */
typedef struct CardinalSession CardinalSession;

/**
 * An input or an output of a model: a dense row-major tensor.
 */
typedef struct {
    /**
     * Its name in the model.
     */
    const char *name;
    /**
     * The type of its elements.
     */
    CardinalDtype dtype;
    /**
     * How many extents its shape has.
     */
    size_t rank;
    /**
     * Its extents, outermost first.
     */
    const size_t *shape;
    /**
     * Its size in bytes.
     */
    size_t bytes;
} CardinalTensorInfo;

/**
 * An entry of the model's metadata.
 */
typedef struct {
    /**
     * Its key.
     */
    const char *key;
    /**
     * Its value.
     */
    const char *value;
} CardinalProperty;

/**
 * What a program is. Texts are UTF-8 (a zero inside one is shown as U+FFFD), and belong to the
 * program, as do arrays.
 */
typedef struct {
    /**
     * The model's name.
     */
    const char *model_name;
    /**
     * BLAKE3 of the model's ONNX bytes in 64 hexadecimal digits; empty if its compiler did not say.
     */
    const char *model_digest;
    /**
     * Version of the compiler.
     */
    const char *compiler_version;
    /**
     * Target triple of the code.
     */
    const char *target;
    /**
     * The kind of CPU whose code runs, as `cardinal compile --cpu` names it: "x86-64-v3".
     */
    const char *variant;
    /**
     * The inputs, in the order of cardinal_session_run.
     */
    const CardinalTensorInfo *inputs;
    /**
     * How many inputs there are.
     */
    size_t input_count;
    /**
     * The outputs, in the order of cardinal_session_run.
     */
    const CardinalTensorInfo *outputs;
    /**
     * How many outputs there are.
     */
    size_t output_count;
    /**
     * The model's metadata (preprocessing, labels), in its order.
     */
    const CardinalProperty *metadata;
    /**
     * How many entries of metadata there are.
     */
    size_t metadata_count;
    /**
     * The fewest images of an inference: 1 where its inputs and outputs may have any number of images up
     * to the outermost extent that their shapes state, else that extent.
     */
    size_t least_images;
    /**
     * The most images of an inference: that extent, or 1 where there is none.
     */
    size_t most_images;
} CardinalProgramInfo;

/**
 * A tensor that a model reads: dense, row-major, aligned to its elements.
 */
typedef struct {
    /**
     * Its first element.
     */
    const void *data;
    /**
     * Its size in bytes.
     */
    size_t bytes;
} CardinalInput;

/**
 * Memory that a model writes a tensor to: dense, row-major, aligned to its elements.
 */
typedef struct {
    /**
     * Where its first element goes.
     */
    void *data;
    /**
     * Its size in bytes.
     */
    size_t bytes;
} CardinalOutput;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Says why the last call that failed in this thread did, in English and UTF-8: a sentence without
 * a full stop, and, where something can be done about it, a second line that begins "help: ".
 * Empty if none has failed. Valid until the next failure in this thread, or its end.
 *
 * The text is the thread's because every function can fail: so there is nothing to free, and no
 * thread sees what went wrong in another.
 */
const char *cardinal_last_error(void);

/**
 * Loads the artifact (.cardinal) at a path. The file is mapped, not read: nobody may change it
 * while the program or a session of it lives. Replacing it by renaming another over it is harmless.
 * Cutting it short ends the process by SIGBUS: where others may, give cardinal_program_from_bytes what
 * you have read.
 *
 * Of an artifact with code for several CPUs, the best that this machine can run is taken, or, where
 * `variant` is not null, the one of that name. Writes to `program` only when it succeeds.
 *
 * An artifact is machine code: loading one from a stranger and running it is running the stranger's
 * program. One that is damaged is an error.
 *
 * # Safety
 *
 * `path` and `variant` are null or point to strings that end in a zero; `program` is null or may be
 * written to.
 */
CardinalStatus cardinal_program_open(const char *path,
                                     const char *variant,
                                     CardinalProgram **program);

/**
 * The same, with weights that are stored as f16 or bf16 expanded once for all processes that name this
 * folder: to a file in it, which they map, and which is compared with the artifact's own before it is used.
 * The folder is made if there is none; files in it can be deleted at any time. Weights in f32 are shared
 * without it.
 *
 * # Safety
 *
 * As for cardinal_program_open; and `folder` is null or points to a string that ends in a zero.
 */
CardinalStatus cardinal_program_open_sharing(const char *path,
                                             const char *variant,
                                             const char *folder,
                                             CardinalProgram **program);

/**
 * The same for an artifact in memory, of which it keeps a copy.
 *
 * # Safety
 *
 * As for cardinal_program_open; and `bytes` is null or points to `length` bytes.
 */
CardinalStatus cardinal_program_from_bytes(const void *bytes,
                                           size_t length,
                                           const char *variant,
                                           CardinalProgram **program);

/**
 * What a program is: its model, target, inputs and outputs. Null for null. Valid until the program
 * is freed.
 *
 * # Safety
 *
 * `program` is null or a program that is not freed.
 */
const CardinalProgramInfo *cardinal_program_info(const CardinalProgram *program);

/**
 * Frees a program, unless it is null. Its sessions live on, and keep what they need.
 *
 * # Safety
 *
 * `program` is null or a program that is not freed and that no other thread is using.
 */
void cardinal_program_free(CardinalProgram *program);

/**
 * The version of this library: "0.1.0".
 */
const char *cardinal_version(void);

/**
 * Makes a session of a program, which runs on `threads` threads, the caller of cardinal_session_run
 * among them; 0 stands for as many as the process may run at once. Results have the same bits for
 * any number of threads.
 *
 * Threads started here end when the session is freed. They do not survive fork(): make sessions in
 * the process that runs them.
 *
 * # Safety
 *
 * `program` is null or a program that is not freed; `session` is null or may be written to.
 */
CardinalStatus cardinal_session_new(const CardinalProgram *program,
                                    size_t threads,
                                    CardinalSession **session);

/**
 * Starts a pool of `threads` threads, the callers of cardinal_session_run counted as one; 0 stands for
 * as many as the process may run at once. They end when the pool and all its sessions are freed, and do
 * not survive fork().
 *
 * # Safety
 *
 * `pool` is null or may be written to.
 */
CardinalStatus cardinal_pool_new(size_t threads,
                                 CardinalPool **pool);

/**
 * Makes a session like cardinal_session_new, which runs on the threads of a pool. Where others of the
 * pool run at the same time, each caller takes the place of a worker: no more threads compute than the
 * pool has. Results have the same bits.
 *
 * # Safety
 *
 * `program` and `pool` are null or what is not freed; `session` is null or may be written to.
 */
CardinalStatus cardinal_session_with_pool(const CardinalProgram *program,
                                          const CardinalPool *pool,
                                          CardinalSession **session);

/**
 * Frees a pool, unless it is null. Its sessions live on, and keep its threads.
 *
 * # Safety
 *
 * `pool` is null or a pool that is not freed and that no other thread is using.
 */
void cardinal_pool_free(CardinalPool *pool);

/**
 * Runs one inference, and returns when its outputs are written. Takes one tensor for each input and
 * each output, in the order of CardinalProgramInfo. Inputs may overlap each other; an output
 * overlaps nothing. Allocates nothing.
 *
 * # Safety
 *
 * `session` is null or a session that is not freed before this returns. `inputs` and `outputs` are
 * null or point to as many values as the counts say, whose data is null or points to as many bytes,
 * which no other thread changes, nor in the case of outputs reads, before this returns.
 */
CardinalStatus cardinal_session_run(CardinalSession *session,
                                    const CardinalInput *inputs,
                                    size_t input_count,
                                    const CardinalOutput *outputs,
                                    size_t output_count);

/**
 * Frees a session, unless it is null, and ends its threads.
 *
 * # Safety
 *
 * `session` is null or a session that is not freed and that no thread is using.
 */
void cardinal_session_free(CardinalSession *session);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CARDINAL_RUNTIME_H */
