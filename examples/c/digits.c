/* Classifies handwritten digits: grey images of 28x28 pixels, as binary PGM files.
 *
 *     digits IMAGE.pgm...        prints the class of each
 *
 * digits.o and digits.h are made by `cardinal compile`; see the Makefile. */
#include "digits.h"
#include "image.h"

enum { CLASSES = digits_OUTPUT0_ELEMENTS };

_Static_assert(digits_INPUT0_ELEMENTS == PIXELS, "the model takes other images");

int main(int argc, char **argv) {
    static _Alignas(digits_ARENA_ALIGN) unsigned char arena[digits_ARENA_BYTES];
    float image[PIXELS], logits[CLASSES];

    if (!digits_cpu_supported()) {
        fprintf(stderr, "digits: this CPU lacks some of %s\n", digits_CPU_FEATURES);
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        if (!read_image(argv[i], image)) {
            fprintf(stderr, "digits: %s is no binary PGM of 28x28 pixels\n", argv[i]);
            return 1;
        }
        int status = digits_run(image, logits, arena);
        if (status != digits_OK) {
            fprintf(stderr, "digits: error %d\n", status);
            return 1;
        }
        printf("%s %d\n", argv[i], largest(logits, CLASSES));
    }
    return 0;
}
