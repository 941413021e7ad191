package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
)

// logged is what becomes of what Envoy writes, in the pieces that are given.
func logged(t *testing.T, now func() time.Time, pieces ...string) ([]string, *envoyLog) {
	t.Helper()
	var entries []string
	l := &envoyLog{now: now, log: funcr.New(func(_, args string) { entries = append(entries, args) }, funcr.Options{Verbosity: 1})}
	for _, piece := range pieces {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	return entries, l
}

func TestLinesOfEnvoyBecomeEntries(t *testing.T) {
	got, l := logged(t, time.Now,
		"warning\tconfig\tgRPC config", " rejected:\\n\\\"x\\\"\n",
		"error\tmain\tbad\ninfo\tmain\tstarting\ndebug\tmain\ttoo much\n",
		"*** stack smashing detected\n\nno end")
	want := []string{
		`"level"=0 "msg"="envoy warns" "component"="config" "message"="gRPC config rejected:\n\"x\""`,
		`"msg"="envoy reports an error" "error"="error" "component"="main" "message"="bad"`,
		`"level"=1 "msg"="envoy says" "component"="main" "message"="starting"`,
		`"level"=0 "msg"="envoy warns" "component"="" "message"="*** stack smashing detected"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if last := l.lastLines(); !strings.HasSuffix(last, "*** stack smashing detected; no end") {
		t.Errorf("last words: %s", last)
	}
}

func TestAFloodIsCutOffAndCounted(t *testing.T) {
	clock := time.Unix(0, 0)
	got, l := logged(t, func() time.Time { return clock }, strings.Repeat("warning\ta\tb\n", maxLines+50))
	if len(got) != maxLines {
		t.Errorf("%d entries, want %d", len(got), maxLines)
	}
	clock = clock.Add(window + time.Second)
	var after []string
	l.log = funcr.New(func(_, args string) { after = append(after, args) }, funcr.Options{})
	fmt.Fprint(l, "warning\ta\tc\n")
	if len(after) != 2 || !strings.Contains(after[0], `"lines"=50`) {
		t.Errorf("after the flood: %q", after)
	}
}

func TestALongLineIsCut(t *testing.T) {
	_, l := logged(t, time.Now, strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20), "\n")
	if got := len(l.lastLines()); got != maxLine {
		t.Errorf("%d bytes kept, want %d", got, maxLine)
	}
}
