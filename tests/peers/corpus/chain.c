/* The corpus's program in C: a comparison function that the C library calls writes to address 0. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static volatile int calls;

__attribute__((noinline)) static int strike(volatile int *where, int value) {
    *where = value;
    return ++calls;
}

static inline __attribute__((always_inline)) int aim(volatile int *where, int value) {
    return strike(where, value) + calls;
}

__attribute__((noinline)) static int compare(const void *one, const void *other) {
    if (++calls > 3)
        return aim((volatile int *)0, calls) + 1;
    return *(const int *)one - *(const int *)other;
}

__attribute__((noinline)) static int sort_all(int *numbers, int count) {
    qsort(numbers, count, sizeof *numbers, compare);
    return numbers[0] + calls;
}

__attribute__((noinline)) static int twice(int depth, int *numbers, int count) {
    char room[64 + 8 * (calls & 1)]; /* a frame whose size is known at run time only */
    room[0] = (char)depth;
    int found = depth ? twice(depth - 1, numbers, count) : sort_all(numbers, count);
    return found + room[calls & 31];
}

static void *idle(void *nothing) {
    pause();
    return nothing;
}

int main(void) {
    int numbers[] = {5, 2, 9, 1, 7, 3, 8};
    pthread_t other;
    pthread_create(&other, 0, idle, 0);
    return twice(2, numbers, 7) + calls;
}
