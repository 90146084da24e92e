/* Copies between a map and the windows of it that a patch needs. */
#ifndef BKNN_MODEL_PATCHES_H
#define BKNN_MODEL_PATCHES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
/* `rows` rows of `bytes` bytes; rows begin `from_step` and `to_step` bytes apart. */
void bknn_model_copy_s8(
    const int8_t *from, int32_t from_step, int8_t *to, int32_t to_step, int32_t rows, int32_t bytes);
#ifdef __cplusplus
}
#endif

#endif
