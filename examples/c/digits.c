/* Classifies handwritten digits: grey images of 28x28 pixels, as binary PGM files.
 *
 *     digits IMAGE.pgm...        prints the class of each
 *
 * digits.o and digits.h are made by `cardinal compile`; see the Makefile. */
#include "digits.h"

#include <stdio.h>

enum { PIXELS = digits_INPUT0_ELEMENTS, CLASSES = digits_OUTPUT0_ELEMENTS };

/* Reads an image and normalizes it as the model's metadata says: mean 0.1307, deviation 0.3081.
 * Returns 0 if the file is no such image. */
static int read_image(const char *path, float image[PIXELS]) {
    unsigned char bytes[PIXELS];
    int width = 0, height = 0, most = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    int good = fscanf(file, "P5 %d %d %d", &width, &height, &most) == 3 && fgetc(file) != EOF &&
               width == 28 && height == 28 && most == 255 &&
               fread(bytes, 1, PIXELS, file) == PIXELS;
    fclose(file);
    for (int i = 0; good && i < PIXELS; i++) {
        image[i] = ((float)bytes[i] / 255.0f - 0.1307f) / 0.3081f;
    }
    return good;
}

static int largest(const float logits[CLASSES]) {
    int best = 0;
    for (int i = 1; i < CLASSES; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

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
        printf("%s %d\n", argv[i], largest(logits));
    }
    return 0;
}
