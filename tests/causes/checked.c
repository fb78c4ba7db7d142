/* Checks of undefined behaviour, for clang's -fsanitize=undefined -fsanitize-trap; `checked WORD`. */
#include <limits.h>
#include <pthread.h>
#include <string.h>

static volatile int one = 1;
static int books[4];

__attribute__((noinline)) static int sum(int a) { return a + INT_MAX; }
__attribute__((noinline)) static int bounds(int a) { return books[a + 6]; }
__attribute__((noinline)) static int shift(int a) { return a << (a + 39); }
__attribute__((noinline)) static int division(int a) { return 10 / (a - 1); }

static int (*die)(int);

static void *in_thread(void *nothing)
{
    one = die(one);
    return nothing;
}

int main(int count, char **words)
{
    pthread_t thread;
    const char *word = count > 1 ? words[1] : "";
    die = !strcmp(word, "sum") ? sum : !strcmp(word, "bounds") ? bounds : !strcmp(word, "shift") ? shift : division;
    if (count > 2) {
        pthread_create(&thread, NULL, in_thread, NULL);
        pthread_join(thread, NULL);
    } else {
        in_thread(NULL);
    }
    return 4;
}
