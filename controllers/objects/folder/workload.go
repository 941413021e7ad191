package folder

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairwaynet/fairway/api/document"
)

// Workload is pods that the files ask for: a Pod, or what makes Pods. It is no object of the cache, and
// only what says which pods there will be is read of it.
type Workload struct {
	Place

	Kind      string
	Namespace string
	Name      string
	Pod       corev1.PodTemplateSpec
}

// manifest is where the template of pods is in a workload.
type manifest struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Template    *corev1.PodTemplateSpec `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template *corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
}

// workload notes a document of a kind that asks for pods, or says which labels their namespace has. What is wrong with it is not for us to say.
func (c *content) workload(at place, value document.Value, kind string) {
	found := Workload{Place: Place{at.file, at.line}, Kind: kind}
	switch kind {
	case "Pod":
		if !value.Peek(&found.Pod) {
			return
		}
		found.Namespace, found.Name = found.Pod.Namespace, cmp.Or(found.Pod.Name, found.Pod.GenerateName)
	case "Namespace":
		var n corev1.Namespace
		if value.Peek(&n) {
			c.namespaces = append(c.namespaces, n.ObjectMeta)
		}
		return
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob":
		var m manifest
		if !value.Peek(&m) {
			return
		}
		template := cmp.Or(m.Spec.Template, m.Spec.JobTemplate.Spec.Template)
		if template == nil {
			return
		}
		found.Namespace, found.Name, found.Pod = m.Metadata.Namespace, cmp.Or(m.Metadata.Name, m.Metadata.GenerateName), *template
	default:
		return
	}
	found.Namespace = cmp.Or(found.Namespace, corev1.NamespaceDefault)
	c.workloads = append(c.workloads, found)
}

// Workloads returns what the files hold that asks for pods, in the order of the files.
func (c *Cache) Workloads() []Workload {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Workload
	for _, path := range slices.Sorted(maps.Keys(c.tree.files)) {
		all = append(all, c.tree.files[path].content.workloads...)
	}
	return all
}

// Namespaces returns the labels that the files give namespaces, by their names. Each has the label of its name, which
// the API server adds.
func (c *Cache) Namespaces() map[string]labels.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]labels.Set{}
	for _, path := range slices.Sorted(maps.Keys(c.tree.files)) {
		for _, n := range c.tree.files[path].content.namespaces {
			has := labels.Set{}
			maps.Copy(has, n.Labels)
			has[corev1.LabelMetadataName] = n.Name
			all[n.Name] = has
		}
	}
	return all
}
