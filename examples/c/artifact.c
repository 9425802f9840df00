/* Classifies handwritten digits with a model that it loads: grey images of 28x28 pixels, as binary
 * PGM files.
 *
 *     artifact MODEL.cardinal IMAGE.pgm...        prints the class of each
 *
 * The model is made by `cardinal compile`, the library by `cargo build`; see the Makefile. */
#include "cardinal_runtime.h"
#include "image.h"

enum { CLASSES = 10 };

/* Whether the model takes one image and gives one row of logits. */
static int is_for_digits(const CardinalProgramInfo *info) {
    return info->input_count == 1 && info->inputs[0].dtype == CARDINAL_DTYPE_F32 &&
           info->inputs[0].bytes == PIXELS * sizeof(float) && info->output_count == 1 &&
           info->outputs[0].dtype == CARDINAL_DTYPE_F32 &&
           info->outputs[0].bytes == CLASSES * sizeof(float);
}

/* Prints the class of an image. Returns 0 if that cannot be done. */
static int classify(CardinalSession *session, const char *path) {
    float image[PIXELS], logits[CLASSES];
    if (!read_image(path, image)) {
        fprintf(stderr, "artifact: %s is no binary PGM of 28x28 pixels\n", path);
        return 0;
    }
    const CardinalInput input = {image, sizeof image};
    const CardinalOutput output = {logits, sizeof logits};
    if (cardinal_session_run(session, &input, 1, &output, 1) != CARDINAL_STATUS_OK) {
        fprintf(stderr, "artifact: %s\n", cardinal_last_error());
        return 0;
    }
    printf("%s %d\n", path, largest(logits, CLASSES));
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: artifact MODEL.cardinal IMAGE.pgm...\n");
        return 2;
    }
    CardinalProgram *program = NULL;
    CardinalSession *session = NULL;
    if (cardinal_program_open(argv[1], NULL, &program) != CARDINAL_STATUS_OK ||
        cardinal_session_new(program, 1, &session) != CARDINAL_STATUS_OK) {
        fprintf(stderr, "artifact: %s\n", cardinal_last_error());
        cardinal_program_free(program);
        return 1;
    }
    const CardinalProgramInfo *info = cardinal_program_info(program);
    int good = is_for_digits(info);
    if (!good) fprintf(stderr, "artifact: %s is no model of digits\n", info->model_name);
    for (int i = 2; good && i < argc; i++) good = classify(session, argv[i]);
    cardinal_session_free(session);
    cardinal_program_free(program);
    return good ? 0 : 1;
}
