/* Runs the stored images through the model and compares every output byte with the stored one. */
#include "board.h"
#include "examples.h"
#include "src/bknn_model.h"
#include "profile.h"

OFA_ALIGNED(BKNN_MODEL_ARENA_ALIGNMENT) static uint8_t arena[BKNN_MODEL_ARENA_SIZE];
static int8_t input[BKNN_MODEL_INPUT_SIZE];
static int8_t output[BKNN_MODEL_OUTPUT_SIZE];

static void print_number(const char *name, int32_t value) {
    char text[13];
    char *end = text + sizeof text - 1, *first = end;
    uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    *end = '\0';
    do {
        *--first = (char)('0' + rest % 10u);
        rest /= 10u;
    } while (rest);
    if (value < 0) {
        *--first = '-';
    }
    board_print(name);
    board_print(" ");
    board_print(first);
    board_print("\n");
}

int main(void) {
    uint32_t different = 0, instructions = 0, nothing;
    board_paint_stack();
    nothing = board_counter();
    nothing = board_between(nothing, board_counter());
    for (uint32_t image = 0; image < EXAMPLES; ++image) {
        for (uint32_t index = 0; index < BKNN_MODEL_INPUT_SIZE; ++index) {
            input[index] = example_inputs[image][index];
        }
        PROFILE_START();
        uint32_t before = board_counter();
        bknn_model_infer(arena, input, output);
        uint32_t after = board_counter();
        if (image == 0) {
            instructions = board_between(before, after) - nothing;
            PROFILE_PRINT(print_number);
        }
        for (uint32_t index = 0; index < BKNN_MODEL_OUTPUT_SIZE; ++index) {
            different += output[index] != example_outputs[image][index];
#if defined(PRINT_OUTPUTS)
            print_number("output", output[index]);
#endif
        }
    }
    print_number("images", (int32_t)EXAMPLES);
    print_number("different_bytes", (int32_t)different);
    print_number("instructions", (int32_t)instructions);
    print_number("stack", (int32_t)board_stack());
    return different ? 1 : 0;
}
