/* crash-test
about = "arguments, environment and names full of control characters, markup and invalid UTF-8"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "main"]
args = ["--", "", "a b\"'", "\u001b[31mred\u001b[0m", "<script>", "\u00ff\u00fe", "new\nline"]
flags = "-g -O1"
*/
#include <sys/prctl.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

int main(void) {
    setenv("HOSTILE", "\033]0;title\007\xff\n#00 pc 0", 1);
    prctl(PR_SET_NAME, ") R 1\n\033[2J\xff/");
    int value = fault_here(NULL);
    AFTER_CALL;
    return value;
}
