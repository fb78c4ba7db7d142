/* Ways to misuse a heap, for other C libraries and allocators; `heaps WORD` or `heaps WORD thread`. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline, noclone))

struct book {
    struct book *next;
    char *title;
    long pages;
    int (*print)(struct book *);
    char rest[64];
    int (*lend)(struct book *); /* behind what glibc writes into large freed blocks */
    char more[1400];
};

static volatile long sink;
static void *volatile hidden; /* what the compiler may not know */

static struct book *book(void)
{
    struct book *made = malloc(sizeof *made);
    hidden = made;
    return hidden;
}

NOINLINE static void freed(void)
{
    struct book *volatile old = book();
    memset(old, 0, sizeof *old);
    hidden = malloc(24); /* keeps the block away from the heap's top */
    free(old);
    sink = old->lend(old);
}

/* Small enough for the thread's cache of freed blocks */
NOINLINE static void freed_small(void)
{
    struct {
        int (*print)(void);
        long rest[7];
    } *volatile thing = calloc(1, sizeof *thing);
    free(thing);
    sink = thing->print();
}

NOINLINE static void never_set(void) { sink = book()->title[3]; }

/* What the freed object leads to was given back to the system */
NOINLINE static void freed_with_its_title(void)
{
    struct book *volatile old = book();
    old->title = malloc(1 << 20);
    hidden = old->title;
    free(hidden);
    free(old);
    sink = old->title[12345];
}

NOINLINE static void freed_twice(void)
{
    char *block = malloc(100);
    hidden = block;
    free(hidden);
    free(block);
}

NOINLINE static void freed_inside(void)
{
    volatile long numbers[8] = {0};
    hidden = (void *)&numbers[2];
    free(hidden);
}

NOINLINE static void overrun(void)
{
    char *small = malloc(24);
    hidden = small;
    memset(hidden, 0x41, 60);
    free(small);
}

NOINLINE static void assertion(void) { assert(sink == 4 && "books"); }

NOINLINE static void smashed_stack(void)
{
    char title[16];
    hidden = title;
    memset(hidden, 'x', 64 + sink);
}

#define WAY(name) {#name, name}
static const struct {
    const char *name;
    void (*die)(void);
} ways[] = {
    WAY(freed), WAY(freed_small), WAY(never_set), WAY(freed_with_its_title), WAY(freed_twice), WAY(freed_inside),
    WAY(overrun), WAY(smashed_stack), WAY(assertion),
};

static void *in_thread(void *die)
{
    ((void (*)(void))die)();
    return NULL;
}

int main(int count, char **words)
{
    for (size_t i = 0; count > 1 && i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(ways[i].name, words[1]))
            continue;
        if (count > 2) {
            pthread_t thread;
            pthread_create(&thread, NULL, in_thread, (void *)ways[i].die);
            pthread_join(thread, NULL);
        } else {
            ways[i].die();
        }
    }
    return 4;
}
