/* The library of shared.c. */
#include "ready.h"

KEEP static int library_walk(int (*visit)(long), long where) {
    int value = visit(where);
    AFTER_CALL;
    return value + 1;
}

int library_entry(int (*visit)(long), long where) {
    int value = library_walk(visit, where);
    AFTER_CALL;
    return value + 1;
}
