package customresources

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
)

// document is what an API server publishes that has these kinds, without fields.
func document(kinds ...string) []byte {
	var schemas []string
	for _, kind := range kinds {
		schemas = append(schemas, `"`+kind+`": {"x-kubernetes-group-version-kind": [{"group": "fairway.dev", "version": "v1alpha1", "kind": "`+kind+`"}]}`)
	}
	return []byte(`{"components": {"schemas": {` + strings.Join(schemas, ",") + `}}}`)
}

// A finding counts when a second look confirms it, and is logged once per change. When
// all is there, that shows within a minute, and the cluster has its peace from then on.
func TestAFindingIsConfirmedAndSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var lines []string
		var published []byte
		var failed error
		c := &Checker{
			Published: func(context.Context) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				return published, failed
			},
			Log: funcr.New(func(_, args string) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, args)
			}, funcr.Options{}),
		}
		becomes := func(document []byte, err error) {
			mu.Lock()
			defer mu.Unlock()
			published, failed = document, err
		}
		said := func(words string) int {
			mu.Lock()
			defer mu.Unlock()
			return len(slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.Contains(line, words) }))
		}
		becomes(document(), nil) // nothing is installed: that is a choice
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		<-time.After(5 * time.Minute)
		if said("") > 0 || c.Detail() != "" {
			t.Errorf("without custom resources it says %d lines, %q", said(""), c.Detail())
		}
		becomes(document("GatewayConfig", "ClusterGatewayConfig"), nil)
		<-time.After(5 * time.Minute)
		if said("older than this version") != 1 || !strings.Contains(c.Detail(), "kind Issuer") || !strings.Contains(c.Detail(), "spec of GatewayConfig") {
			t.Errorf("it says %d lines, %q", said(""), c.Detail())
		}
		becomes(nil, errors.New("connection refused"))
		<-time.After(5 * time.Minute)
		if c.Detail() == "" {
			t.Error("what was found is forgotten while the API server is away")
		}
		becomes(document("GatewayConfig", "ClusterGatewayConfig", "Issuer"), nil)
		<-time.After(5 * time.Minute)
		if said("older than this version") != 2 || strings.Contains(c.Detail(), "kind Issuer") {
			t.Errorf("after a change it says %d lines, %q", said(""), c.Detail())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// While a definition is being published, the first look may find less than there is.
func TestAPassingFindingIsNotSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, err := Known()
		if err != nil {
			t.Fatal(err)
		}
		if len(Missing(known, known)) > 0 {
			t.Fatal("a version lacks its own fields")
		}
		findings := [][]string{{"kind Issuer"}, {"spec of Issuer"}, nil}
		c := &Checker{Log: funcr.New(func(_, args string) { t.Errorf("it says %s", args) }, funcr.Options{})}
		for i, missing := range findings {
			if wait := c.note(missing, true); (wait == again) != (missing != nil) || c.Detail() != "" {
				t.Errorf("look %d: again after %s, %q", i, wait, c.Detail())
			}
		}
	})
}
