// Ways of Go programs to die (with GOTRACEBACK=crash); `ways WORD` dies that way, `ways WORD thread`
// in another goroutine.
package main

import (
	"errors"
	"os"
	"sync"
)

type shelf struct{ books map[string]int }

//go:noinline
func text() { panic("the shelf is empty") }

//go:noinline
func failed() { panic(errors.New("no such book")) }

//go:noinline
func nilMap() {
	var one shelf
	one.books["a"] = 1
}

//go:noinline
func nilPointer() {
	var one *shelf
	one.books = nil
}

//go:noinline
func index() {
	books := make([]int, 3)
	println(books[len(os.Args)*7])
}

// A value that looks like what the runtime keeps of an index that was out of its range
//
//go:noinline
func structure() {
	panic(struct {
		number int
		text   string
	}{1, "x"})
}

//go:noinline
func unlocked() {
	var lock sync.Mutex
	lock.Unlock()
}

//go:noinline
func deadlock() {
	var lock sync.Mutex
	lock.Lock()
	lock.Lock()
}

func main() {
	ways := map[string]func(){
		"text": text, "failed": failed, "nilMap": nilMap, "nilPointer": nilPointer,
		"index": index, "deadlock": deadlock, "structure": structure, "unlocked": unlocked,
	}
	way := ways[os.Args[1]]
	if len(os.Args) > 2 {
		done := make(chan bool)
		go func() {
			way()
			done <- true
		}()
		<-done
	} else {
		way()
	}
	os.Exit(4)
}
