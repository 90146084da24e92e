/* Copies between a map and the windows of it that a patch needs. */
#include "bknn_model.h"
#include "bknn_model_patches.h"

#include <stddef.h>
#include <string.h>

void bknn_model_copy_s8(
    const int8_t *from, int32_t from_step, int8_t *to, int32_t to_step, int32_t rows, int32_t bytes) {
    for (; rows > 0; --rows, from += from_step, to += to_step) {
        memcpy(to, from, (size_t)bytes);
    }
}
