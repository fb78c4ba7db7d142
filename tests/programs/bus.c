/* crash-test
about = "a read past the end of a mapped file"
signal = "SIGBUS"
code = "BUS_ADRERR"
cause = "bus-error"
reason = "past-end-of-file"
frames = ["read_at", "main"]
flags = "-g -O1"
*/
#include <stdio.h>
#include <sys/mman.h>
#include "ready.h"

KEEP int read_at(const volatile char *where) {
    int value = *where;
    AFTER_CALL;
    return value;
}

int main(void) {
    FILE *file = tmpfile();
    if (!file || ftruncate(fileno(file), 100)) return 1;
    char *memory = mmap(NULL, 16384, PROT_READ, MAP_SHARED, fileno(file), 0);
    int value = read_at(memory + 8192);
    AFTER_CALL;
    return value;
}
