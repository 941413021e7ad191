//go:build lab && network

package lab

import (
	"fmt"
	"testing"
)

// web is a Service of four pods, which go on for a moment when they are told to end, as the
// routes to them change.
var web = fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 2}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: PreferNoSchedule}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]
      containers:
        - name: echo
          image: %s
          imagePullPolicy: Never
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
          lifecycle: {preStop: {sleep: {seconds: 3}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30180}]
`, EchoImage)

// TestServicesUnderLoad is a lab whose Services are Fairway's: while clients outside and on a
// node connect all the time, pods are replaced, a node is drained, and all agents restart.
func TestServicesUnderLoad(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 3, Families: DualStack, Fairway: Network})
	remember(t, l)
	l.Kubectl(t, web, "apply", "-f", "-")
	l.Kubectl(t, "", "rollout", "status", "deployment/web", "--timeout=120s")
	under := func(what string, do func()) {
		t.Helper()
		outside := l.loadFrom(t, "client", "--rate", "100", "http://172.30.0.11:30180/", "http://172.30.0.13:30180/")
		inside := l.loadFrom(t, "n1", "--rate", "50", "http://172.30.0.11:30180/")
		do()
		outside.end(t, what+", outside")
		inside.end(t, what+", on a node")
	}
	under("rolling update", func() {
		l.Kubectl(t, "", "rollout", "restart", "deployment/web")
		l.Kubectl(t, "", "rollout", "status", "deployment/web", "--timeout=120s")
	})
	under("drain", func() {
		l.Kubectl(t, "", "drain", "n2", "--ignore-daemonsets", "--timeout=120s")
		l.Kubectl(t, "", "rollout", "status", "deployment/web", "--timeout=120s")
		l.Kubectl(t, "", "uncordon", "n2")
	})
	under("agents restart", func() {
		l.Kubectl(t, "", "-n", "kube-system", "rollout", "restart", "daemonset/fairway-node")
		l.Kubectl(t, "", "-n", "kube-system", "rollout", "status", "daemonset/fairway-node", "--timeout=120s")
	})
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}
