// Package gateways tests several gateways side by side, and their settings: the
// custom resources and classes go into a real API server, requests into real
// Envoys of two gateways.
package gateways_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

// patience is how long a change may take on a machine that is busy otherwise.
const patience = 60 * time.Second

// The ports of the two gateways.
const (
	outerPort = 8080
	innerPort = 8081
)

// answers is a check for Eventually: the gateway at a port answers from a
// backend, or, without one, 404.
func answers(port int, host, backend string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := fairway.GetAt(ctx, port, host, "/")
		if err != nil {
			return err
		}
		if got := a.Header.Get("Backend"); got != backend || backend == "" && a.Status != http.StatusNotFound {
			return fmt.Errorf("port %d: %s: status %d of backend %q, want backend %q", port, host, a.Status, got, backend)
		}
		return nil
	}
}

// accepted is a check for Eventually: the condition of a configuration is that,
// of its newest version, with words in the message.
func accepted(r *fairway.Installation, name string, status metav1.ConditionStatus, reason string, words ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		config := &v1alpha1.ClusterGatewayConfig{}
		if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, config); err != nil {
			return err
		}
		c := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != config.Generation {
			return fmt.Errorf("generation %d of %s has the condition %+v, want %s %s", config.Generation, name, c, status, reason)
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("the condition says %q, and not %q", c.Message, word)
			}
		}
		return nil
	}
}

func change[O client.Object](t *testing.T, r *fairway.Installation, object O, edit func(O)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		edit(object)
		return r.Client.Update(t.Context(), object)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func parameters(name string) *networkingv1.IngressClassParametersReference {
	return &networkingv1.IngressClassParametersReference{
		APIGroup: new(v1alpha1.GroupName), Kind: "ClusterGatewayConfig", Name: name, Scope: new("Cluster"),
	}
}

func configOf(name string, port int32) *v1alpha1.ClusterGatewayConfig {
	return &v1alpha1.ClusterGatewayConfig{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GatewayConfigSpec{HTTPPort: &port},
	}
}

func TestTwoGatewaysSideBySide(t *testing.T) {
	fairway.Backend(t, "outer", "10.77.1.1")
	fairway.Backend(t, "inner", "10.77.1.2")
	r := fairway.Start(t, fairway.Options{Before: func(r *fairway.Installation) { r.InstallCustomResources(t) }})
	config, inner := configOf("inner", innerPort), fairway.Class("inner")
	inner.Spec.Parameters = parameters("inner")
	for i, name := range []string{"outer", "inner"} {
		r.Create(t, fairway.Service(name), fairway.Slice(name, fmt.Sprintf("10.77.1.%d", i+1)))
	}
	r.Create(t, config, fairway.Class("outer"), inner,
		fairway.Ingress("outer", "outer", "shop.test", "/", "outer"),
		fairway.Ingress("inner", "inner", "shop.test", "/", "inner"))
	r.StartEnvoy(t, "inner").WaitReady(t)
	fairway.Eventually(t, patience, answers(outerPort, "shop.test", "outer"))
	fairway.Eventually(t, patience, answers(innerPort, "shop.test", "inner"))
	fairway.Eventually(t, patience, accepted(r, "inner", metav1.ConditionTrue, v1alpha1.ReasonAccepted, "inner"))

	t.Run("an Ingress moves between classes", func(t *testing.T) {
		moving := fairway.Ingress("moving", "outer", "moving.test", "/", "outer")
		r.Create(t, moving)
		fairway.Eventually(t, patience, answers(outerPort, "moving.test", "outer"))
		fairway.Eventually(t, patience, answers(innerPort, "moving.test", ""))
		for _, step := range []struct {
			class       string
			there, gone int
		}{{"inner", innerPort, outerPort}, {"outer", outerPort, innerPort}} {
			change(t, r, moving, func(o *networkingv1.Ingress) { o.Spec.IngressClassName = &step.class })
			fairway.Eventually(t, patience, answers(step.there, "moving.test", "outer"))
			fairway.Eventually(t, patience, answers(step.gone, "moving.test", ""))
		}
	})
	t.Run("a class moves between gateways", func(t *testing.T) { testClassMoves(t, r, inner) })
	t.Run("a mistake keeps the last good settings", func(t *testing.T) { testMistake(t, r, config) })
	t.Run("what is refused", func(t *testing.T) { testRefused(t, r) })
	t.Run("settings change", func(t *testing.T) {
		change(t, r, config, func(o *v1alpha1.ClusterGatewayConfig) { o.Spec.HTTPPort = new(int32(8082)) })
		fairway.Eventually(t, patience, answers(8082, "shop.test", "inner"))
		change(t, r, config, func(o *v1alpha1.ClusterGatewayConfig) { o.Spec.HTTPPort = new(int32(innerPort)) })
		fairway.Eventually(t, patience, answers(innerPort, "shop.test", "inner"))
		fairway.Eventually(t, patience, answers(outerPort, "shop.test", "outer"))
	})
	t.Run("the default gateway has a configuration too", func(t *testing.T) {
		r.Create(t, configOf("default", 8083))
		fairway.Eventually(t, patience, answers(8083, "shop.test", "outer"))
		fairway.Eventually(t, patience, accepted(r, "default", metav1.ConditionTrue, v1alpha1.ReasonAccepted))
		if err := r.Client.Delete(t.Context(), configOf("default", 8083)); err != nil {
			t.Fatal(err)
		}
		fairway.Eventually(t, patience, answers(outerPort, "shop.test", "outer"))
	})
}

// testClassMoves: its Envoys stay, and serve nothing while no class names their
// gateway.
func testClassMoves(t *testing.T, r *fairway.Installation, inner *networkingv1.IngressClass) {
	only := fairway.Ingress("only", "inner", "only.test", "/", "inner")
	r.Create(t, only)
	fairway.Eventually(t, patience, answers(innerPort, "only.test", "inner"))
	change(t, r, inner, func(o *networkingv1.IngressClass) { o.Spec.Parameters = nil })
	fairway.Eventually(t, patience, answers(outerPort, "only.test", "inner"))
	fairway.Eventually(t, patience, answers(innerPort, "only.test", ""))
	fairway.Eventually(t, patience, accepted(r, "inner", metav1.ConditionTrue, v1alpha1.ReasonUnused))
	change(t, r, inner, func(o *networkingv1.IngressClass) { o.Spec.Parameters = parameters("inner") })
	fairway.Eventually(t, patience, answers(innerPort, "only.test", "inner"))
	fairway.Eventually(t, patience, answers(outerPort, "only.test", ""))

	// Parameters that cannot be understood: served nowhere, and least of all on
	// the public gateway.
	change(t, r, inner, func(o *networkingv1.IngressClass) { o.Spec.Parameters.Kind = "ConfigMap" })
	fairway.Eventually(t, patience, answers(innerPort, "only.test", ""))
	fairway.Eventually(t, patience, answers(outerPort, "only.test", ""))
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="IngressClass",reason="InvalidParameters"} 1`))
	change(t, r, inner, func(o *networkingv1.IngressClass) { o.Spec.Parameters = parameters("inner") })
	fairway.Eventually(t, patience, answers(innerPort, "only.test", "inner"))
	fairway.Eventually(t, patience, r.NoMetric("fairway_problems"))
}

// testMistake: what the API server cannot know to be wrong is a condition.
func testMistake(t *testing.T, r *fairway.Installation, config *v1alpha1.ClusterGatewayConfig) {
	change(t, r, config, func(o *v1alpha1.ClusterGatewayConfig) {
		o.Spec.HTTPPort = new(int32(8090))
		o.Spec.AccessLog = &v1alpha1.AccessLog{RequestHeaders: []v1alpha1.HeaderName{"Authorization"}}
	})
	fairway.Eventually(t, patience, accepted(r, "inner", metav1.ConditionFalse, v1alpha1.ReasonInvalid,
		"spec.accessLog.requestHeaders[0]", "Authorization", "last settings"))
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="ClusterGatewayConfig",reason="InvalidSetting"} 1`))
	fairway.Eventually(t, patience, answers(innerPort, "shop.test", "inner")) // and not port 8090
	if _, err := fairway.GetAt(t.Context(), 8090, "shop.test", "/"); err == nil {
		t.Error("part of the new settings is in force")
	}
	change(t, r, config, func(o *v1alpha1.ClusterGatewayConfig) { o.Spec.AccessLog = nil })
	fairway.Eventually(t, patience, accepted(r, "inner", metav1.ConditionTrue, v1alpha1.ReasonAccepted))
	fairway.Eventually(t, patience, answers(8090, "shop.test", "inner"))
	change(t, r, config, func(o *v1alpha1.ClusterGatewayConfig) { o.Spec.HTTPPort = new(int32(innerPort)) })
	fairway.Eventually(t, patience, answers(innerPort, "shop.test", "inner"))
}

// A cluster whose custom resources come later is served before and after.
func TestCustomResourcesThatComeLater(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.2.1")
	r := fairway.Start(t, fairway.Options{})
	r.Create(t, fairway.Class("public"), fairway.Service("shop"), fairway.Slice("shop", "10.77.2.1"),
		fairway.Ingress("shop", "public", "shop.test", "/", "shop"))
	fairway.Eventually(t, patience, answers(outerPort, "shop.test", "shop"))
	if log := r.Controller.Log(); !strings.Contains(log, "the cluster has no GatewayConfigs") {
		t.Errorf("nobody is told:\n%s", log)
	}
	r.InstallCustomResources(t)
	r.Create(t, configOf("default", 8084))
	fairway.Eventually(t, patience, answers(8084, "shop.test", "shop"))
	fairway.Eventually(t, patience, accepted(r, "default", metav1.ConditionTrue, v1alpha1.ReasonAccepted))
}

// What the API server can know to be wrong, it refuses.
func testRefused(t *testing.T, r *fairway.Installation) {
	for name, spec := range map[string]v1alpha1.GatewayConfigSpec{
		"no address":       {Address: new("everywhere")},
		"port":             {HTTPPort: new(int32(70000))},
		"equal ports":      {HTTPPort: new(int32(80)), HTTPSPort: new(int32(80))},
		"no port":          {HTTPPort: new(int32(0))},
		"CIDR":             {ProxyProtocol: &v1alpha1.ProxyProtocol{From: []string{"10.0.0.1"}}},
		"hops":             {TrustedHops: new(int32(17))},
		"escaped slashes":  {EscapedSlashes: new("redirect")},
		"duration":         {Timeouts: &v1alpha1.Timeouts{Idle: new(v1alpha1.Duration("soon"))}},
		"negative timeout": {Timeouts: &v1alpha1.Timeouts{Idle: new(v1alpha1.Duration("-1s"))}},
		"header count":     {Limits: &v1alpha1.Limits{RequestHeaderCount: new(int32(0))}},
		"response headers": {Limits: &v1alpha1.Limits{ResponseHeaderCount: new(int32(10001))}},
		"log field":        {AccessLog: &v1alpha1.AccessLog{Fields: []v1alpha1.AccessLogField{"%REQ(COOKIE)%"}}},
		"versions":         {TLS: &v1alpha1.TLS{MinVersion: new(v1alpha1.TLSVersion("TLSv1.3")), MaxVersion: new(v1alpha1.TLSVersion("TLSv1.2"))}},
		"version":          {TLS: &v1alpha1.TLS{MinVersion: new(v1alpha1.TLSVersion("TLSv1.1"))}},
		"cipher":           {TLS: &v1alpha1.TLS{Ciphers: []v1alpha1.TLSCipher{"AES128-SHA"}}},
		"cipher of 1.3":    {TLS: &v1alpha1.TLS{MinVersion: new(v1alpha1.TLSVersion("TLSv1.3")), Ciphers: []v1alpha1.TLSCipher{"ECDHE-RSA-AES128-GCM-SHA256"}}},
		"curve":            {TLS: &v1alpha1.TLS{Curves: []v1alpha1.TLSCurve{"secp192r1"}}},
		"curve twice":      {TLS: &v1alpha1.TLS{Curves: []v1alpha1.TLSCurve{"X25519", "X25519"}}},
		"ALPN":             {TLS: &v1alpha1.TLS{ALPN: []v1alpha1.TLSProtocol{"h3"}}},
		"HSTS age":         {TLS: &v1alpha1.TLS{HSTS: &v1alpha1.HSTS{MaxAge: -1}}},
		"HSTS preload":     {TLS: &v1alpha1.TLS{HSTS: &v1alpha1.HSTS{MaxAge: 31536000, Preload: true}}},
		"HTTP/3 and 1.2":   {TLS: &v1alpha1.TLS{HTTP3: new(true), MaxVersion: new(v1alpha1.TLSVersion("TLSv1.2"))}},
		"HTTP/3 and PROXY": {TLS: &v1alpha1.TLS{HTTP3: new(true)}, ProxyProtocol: &v1alpha1.ProxyProtocol{}},
		"header name":      {AccessLog: &v1alpha1.AccessLog{RequestHeaders: []v1alpha1.HeaderName{"a)% %REQ(COOKIE"}}},
	} {
		config := &v1alpha1.ClusterGatewayConfig{ObjectMeta: metav1.ObjectMeta{Name: "refused"}, Spec: spec}
		if err := r.Client.Create(t.Context(), config); !apierrors.IsInvalid(err) {
			t.Errorf("%s: error %v, want that it is invalid", name, err)
		}
	}
}
