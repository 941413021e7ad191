package explain_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/tools/txtar"

	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/explain"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/golden"
	"github.com/fairwaynet/fairway/xds/route"
)

// TestGolden: a case is a sentence, the objects that there are, requests, and what is
// said of each. A request is a line: a URL, and behind " -" each method (X), header
// (H), gateway or class.
func TestGolden(t *testing.T) {
	golden.Run(t, "testdata", func(t *testing.T, files []txtar.File) []txtar.File {
		t.Parallel() // a cache waits most of the time
		if len(files) < 2 || files[0].Name != "objects.yaml" || files[1].Name != "requests" {
			t.Fatal("a case begins with objects.yaml and requests")
		}
		return append(files[:2:2], txtar.File{Name: "said", Data: said(t, string(files[0].Data), string(files[1].Data))})
	})
}

// said is what is said of requests, about a cluster that holds the objects.
func said(t *testing.T, objects, requests string) []byte {
	t.Helper()
	cluster, err := folder.New(folder.Options{Paths: []string{"-"}, Stdin: strings.NewReader(objects)})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cluster.Problems() {
		t.Errorf("the case is broken: %s: %s", p.Field, p.Message)
	}
	var all strings.Builder
	err = snapshot.Take(t.Context(), cluster, index.Scope{}, func(ctx context.Context, c *edge.Controllers) error {
		for i, line := range strings.Split(strings.TrimSpace(requests), "\n") {
			if i > 0 {
				all.WriteString("\n")
			}
			explanation, err := explain.Explain(ctx, c, question(t, line))
			if err != nil {
				fmt.Fprintf(&all, "%s\n  error      %v\n", line, err)
				continue
			}
			check(t, line, explanation)
			all.WriteString(explanation.Text())
			for _, p := range explanation.Problems {
				fmt.Fprintf(&all, "  problem    %s: %s: %s\n", p.Object, p.Field, p.Reason)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return []byte(all.String())
}

// question reads a line of a case.
func question(t *testing.T, line string) explain.Question {
	t.Helper()
	parts := strings.Split(line, " -")
	request, err := explain.ParseURL(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	q := explain.Question{Request: request}
	for _, part := range parts[1:] {
		what, value, _ := strings.Cut(part, " ")
		switch what {
		case "X":
			q.Request.Method = value
		case "H":
			if err := q.Request.AddHeader(value); err != nil {
				t.Fatal(err)
			}
		case "gateway":
			q.Gateway = route.Gateway(value)
		case "class":
			q.Class = value
		default:
			t.Fatalf("%q is no part of a request", part)
		}
	}
	return q
}

// check holds what is true of every explanation: it ends, and where that is not at a
// backend, it says what to do next or is an answer that was asked for.
func check(t *testing.T, line string, e *explain.Explanation) {
	t.Helper()
	if e.End == "" || e.Summary == "" {
		t.Errorf("%s: it has no end", line)
	}
	if e.Served() != (e.Status == 0 && e.End == route.EndForwarded) {
		t.Errorf("%s: served: %t, end %s, status %d", line, e.Served(), e.End, e.Status)
	}
	if !e.Served() && e.End != route.EndBadMethod && e.End != route.EndChallenge && len(e.Next) == 0 {
		t.Errorf("%s: it ends at %s, and what to do next is not said", line, e.End)
	}
	for _, next := range e.Next {
		if next == "" {
			t.Errorf("%s: there is something to do next, and nobody says what", line)
		}
	}
	if text := e.Text(); strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		t.Errorf("%s: reaches the terminal: %q", line, text)
	}
}
