// Package ingress tests what users of Ingress see: objects go into a real API
// server, requests into a real Envoy, and between the two runs fairway
// controller as it ships.
//
// What one feature promises stands in one file. Those that disturb nobody share
// a Road (TestIngress); those that kill something, or count every request, have
// one of their own.
package ingress_test

import (
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

// patience is how long a change may take on a machine that is busy otherwise.
const patience = 30 * time.Second

// class is the IngressClass of ours that every Road here has.
const class = "public"

func TestIngress(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"-v"}, Record: true})
	for _, feature := range []struct {
		name string
		test func(*testing.T, *fairway.Installation)
	}{
		{"apply", testApply},
		{"ports", testPorts},
		{"services", testServices},
		{"endpoints", testEndpoints},
		{"missing backends", testMissingBackends},
		{"classes", testClasses},
		{"default class", testDefaultClass},
		{"hosts", testHosts},
		{"default backend", testDefaultBackend},
		{"paths", testPaths},
		{"problems", testProblems},
		{"conformance", testConformance},
	} {
		t.Run(feature.name, func(t *testing.T) { feature.test(t, r) })
	}
}
