// Package e2e pins Kubernetes' end-to-end tests, which "make lab-e2e" builds
// and runs in a lab.
package e2e

import _ "k8s.io/kubernetes/test/e2e" // the package that is built
