/* Reads the images of handwritten digits: grey, 28x28 pixels, as binary PGM files. */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdio.h>

enum { PIXELS = 28 * 28 };

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

/* The class of the largest logit. */
static int largest(const float *logits, int classes) {
    int best = 0;
    for (int i = 1; i < classes; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

#endif
