package child

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A test that is killed cannot clean up. TestChild is that test: it tells the
// pid of a child of its own and waits to be killed.
func TestChildrenDieWithTheTestProcess(t *testing.T) {
	parent := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	parent.Env = append(os.Environ(), "CHILD_TEST_DIR="+t.TempDir())
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := pidIn(t, bufio.NewScanner(output))
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child does not live: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Wait()
	deadline := time.Now().Add(30 * time.Second)
	for now := range time.Tick(time.Millisecond) {
		if !alive(child) {
			return
		}
		if now.After(deadline) {
			t.Fatalf("child %d outlives its parent", child)
		}
	}
}

func TestChild(t *testing.T) {
	dir := os.Getenv("CHILD_TEST_DIR")
	if dir == "" {
		return // it runs only in the process that the test above starts
	}
	p, err := Start(dir, exec.Command("/bin/sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("child %d\n", p.cmd.Process.Pid)
	<-p.Done()
}

func pidIn(t *testing.T, lines *bufio.Scanner) int {
	t.Helper()
	for lines.Scan() {
		var pid int
		if _, err := fmt.Sscanf(lines.Text(), "child %d", &pid); err == nil {
			return pid
		}
	}
	t.Fatalf("the parent told no pid: %v", lines.Err())
	return 0
}

// alive is false for a zombie, which whoever inherited it may leave for long.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	return !strings.Contains(string(stat), ") Z ")
}

func TestLogKeepsTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	log, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 1023) + "\n"
	for range 3 * logLimit / len(line) {
		fmt.Fprint(log, line)
	}
	fmt.Fprintln(log, "the last line")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if tail := log.tail(); !strings.HasSuffix(tail, "the last line\n") || len(tail) > tailLimit {
		t.Errorf("tail has %d bytes and ends in %q", len(tail), tail[max(0, len(tail)-20):])
	}
	if n := log.count("the last line"); n != 1 {
		t.Errorf("the log has the last line %d times", n)
	}
	for _, name := range []string{path, path + ".old"} {
		if stat, err := os.Stat(name); err != nil || stat.Size() > logLimit {
			t.Errorf("%s: %v, want at most %d bytes", name, stat, logLimit)
		}
	}
}
