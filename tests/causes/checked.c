/* Ways to fail checks: of undefined behaviour, for clang's -fsanitize=undefined -fsanitize-trap, and of
   addresses, for -fsanitize=address; `checked WORD`. */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static volatile int one = 1;
static volatile int books[4];

__attribute__((noinline)) static int sum(int a) { return a + INT_MAX; }
__attribute__((noinline)) static int bounds(int a) { return books[a + 6]; }
__attribute__((noinline)) static int shift(int a) { return a << (a + 39); }
__attribute__((noinline)) static int division(int a) { return 10 / (a - 1); }

__attribute__((noinline)) static int freed(int a)
{
    int *volatile book = malloc(sizeof *book);
    free(book);
    return *book + a;
}

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
    if (!strcmp(word, "sum"))
        die = sum;
    else if (!strcmp(word, "bounds"))
        die = bounds;
    else if (!strcmp(word, "shift"))
        die = shift;
    else if (!strcmp(word, "freed"))
        die = freed;
    else
        die = division;
    if (count > 2) {
        pthread_create(&thread, NULL, in_thread, NULL);
        pthread_join(thread, NULL);
    } else {
        in_thread(NULL);
    }
    return 4;
}
