// Go calls C, which calls Go back, which calls C, which faults: three changes of the stack.
package main

/*
static int third(volatile int *where) { return *where; }
static int second(long n) { return third((volatile int *)n) + 1; }
extern int goBack(int);
static int first(int n) { return goBack(n) + 1; }
*/
import "C"

//export goBack
func goBack(n C.int) C.int { return inner(n) + 1 }

//go:noinline
func inner(n C.int) C.int { return C.second(C.long(n)) + 2 }

//go:noinline
func outer(n C.int) C.int { return C.first(n) + 3 }

func main() {
	done := make(chan C.int)
	go func() { done <- outer(0) }()
	<-done
}
