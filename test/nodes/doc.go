// Package nodes tests the agents of nodes together: real agents and plugins on machines in
// network namespaces, with a real API server. Only kubelets and container runtimes are
// missing; the lab has those.
package nodes
