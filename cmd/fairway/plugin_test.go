package main

import (
	"slices"
	"testing"
)

func TestKubectlsPluginIsTheSameProgram(t *testing.T) {
	for _, test := range []struct {
		program string
		args    []string
		name    string
	}{
		{"/usr/local/bin/fairway", []string{"explain", ""}, "fairway"},
		{"/opt/bin/kubectl-fairway", []string{"explain", ""}, "kubectl fairway"},
		{"kubectl-fairway.exe", []string{"explain", ""}, "kubectl fairway"},
		{"/opt/bin/kubectl_complete-fairway", []string{"__complete", "explain", ""}, "kubectl fairway"},
	} {
		if got := calledAs([]string{test.program, "explain", ""}); !slices.Equal(got, test.args) {
			t.Errorf("%s: arguments %q, want %q", test.program, got, test.args)
		}
		if got := displayName(test.program); got != test.name {
			t.Errorf("%s is called %q, want %q", test.program, got, test.name)
		}
	}
}
