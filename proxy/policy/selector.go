package policy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Selector means pods: those with labels in one namespace, or in namespaces with labels.
type Selector struct {
	namespace  string          // of the pods, if namespaces is nil
	namespaces labels.Selector // labels of their namespaces
	pods       labels.Selector // their labels
	id         string          // the same for selectors that mean the same
}

// String is the selector in words that kubectl takes, such as "app=web in namespace shop".
func (s Selector) String() string {
	pods := s.pods.String()
	if pods == "" {
		pods = "all pods"
	}
	switch {
	case s.namespaces == nil:
		return fmt.Sprintf("%s in namespace %s", pods, s.namespace)
	case s.namespaces.Empty():
		return pods + " in all namespaces"
	default:
		return fmt.Sprintf("%s in namespaces with %s", pods, s.namespaces)
	}
}

// newSelector is that of a peer in a namespace. At least one of both is there.
func newSelector(namespace string, namespaces, pods *metav1.LabelSelector) (Selector, error) {
	s := Selector{namespace: namespace, pods: labels.Everything()}
	var err error
	if pods != nil {
		if s.pods, err = metav1.LabelSelectorAsSelector(pods); err != nil {
			return s, fmt.Errorf("podSelector: %w", err)
		}
	}
	if namespaces != nil {
		s.namespace = ""
		if s.namespaces, err = metav1.LabelSelectorAsSelector(namespaces); err != nil {
			return s, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	s.id = s.String()
	return s, nil
}

// inNamespace says whether it means pods of a namespace with these labels.
func (s Selector) inNamespace(name string, has labels.Set) bool {
	if s.namespaces == nil {
		return name == s.namespace
	}
	return s.namespaces.Matches(has)
}

// selects says whether it means a pod of a namespace with labels.
func (s Selector) selects(p *Pod, namespace labels.Set) bool {
	return s.inNamespace(p.Name.Namespace, namespace) && s.pods.Matches(labels.Set(p.Labels))
}
