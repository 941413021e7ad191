// Command hello stands for a command of Fairway in tests: it compiles in seconds.
package main

import "os"

var release string

func main() {
	_, _ = os.Stdout.WriteString("hello " + release + "\n")
}
