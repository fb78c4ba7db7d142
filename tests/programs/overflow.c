/* crash-test
about = "endless recursion on the main thread's stack"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "stack-overflow"
frames = ["deeper", "deeper", "deeper"]
flags = "-g -O0"
[builds.main]
[builds.worker]
args = ["worker"]
code = "SEGV_ACCERR"
threads = 2
flags = "-g -O0 -pthread"
*/
#include <pthread.h>
#include "ready.h"

KEEP int deeper(int depth) {
    volatile char room[300];
    room[depth % 300] = (char)depth;
    int below = deeper(depth + 1);
    AFTER_CALL;
    return below + room[depth % 300];
}

static void *work(void *arg) {
    deeper(0);
    return arg;
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        pthread_t thread;
        pthread_create(&thread, NULL, work, NULL);
        pthread_join(thread, NULL);
        return 0;
    }
    return deeper(0);
}
