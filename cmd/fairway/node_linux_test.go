package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// What cannot work, of nodes' ranges above all, is said when the agent starts.
func TestSettingsOfNodesThatCannotWork(t *testing.T) {
	t.Setenv("NODE_NAME", "one")
	t.Setenv("POD_NAMESPACE", "")
	for _, test := range []struct{ args, want string }{
		{"--allocate-pod-cidrs --pod-cidr=10.0.0.0/16 --pod-cidr=fd00::/48", ""},
		{"--allocate-pod-cidrs --pod-cidr=10.0.0.0/25", "--pod-cidr: a node's range with a prefix of 24 bits does not fit into 10.0.0.0/25"},
		{"--pod-cidr=10.0.0.0/25", ""}, // somebody else gives ranges
		{"--allocate-pod-cidrs --pod-cidr=10.0.0.0/25 --node-cidr-mask-size-ipv4=26", ""},
		{"--allocate-pod-cidrs --pod-cidr=10.0.0.0/16 --node-cidr-mask-size-ipv4=31", "30 bits at most, not 31"},
		{"--allocate-pod-cidrs --pod-cidr=fd00::/48 --node-cidr-mask-size-ipv6=40", "40 bits does not fit into fd00::/48"},
		{"--allocate-pod-cidrs --pod-cidr=10.0.0.0/8 --pod-cidr=10.9.0.0/16", "10.0.0.0/8 and 10.9.0.0/16 overlap"},
		{"--pod-cidr=10.0.0.0/16 --log-denied", "--log-denied: needs --policies"},
		{"--pod-cidr=10.0.0.0/16 --log-denied --policies", ""},
		{"--allocate-pod-cidrs --pod-cidr=10.0.0.0/16 --namespace=A_B", `--namespace: "A_B" is no name of a namespace`},
	} {
		n := newNodeSettings()
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		n.bind(flags)
		if err := flags.Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		err := n.load(flags)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
		if test.want == "" && n.Namespace != "kube-system" {
			t.Errorf("%s: the namespace is %s", test.args, n.Namespace)
		}
	}
}
