package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/inspect/policies"
)

// podPolicySettings are the settings of fairway status policy.
type podPolicySettings struct {
	Cluster   kubeconfig
	Output    outputFormat
	Namespace string
}

func statusPolicyCommand(std streams) *cobra.Command {
	s := &podPolicySettings{Output: outputText}
	cmd := &cobra.Command{
		Use:   "policy NAMESPACE/POD",
		Short: "Say which policies apply to a pod, and what they allow",
		Long: `Policy shows in which directions a pod is isolated, by which NetworkPolicies, and
what each of their rules allows; and which ClusterNetworkPolicies are asked before or
after these, and what each of their rules does. It reads objects as you may, and asks
no node.

Exit code: 0 when the pod's policies were understood, 1 when a part of one was
not, 2 when the cluster could not be read.`,
		Args: wants("one pod", cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := podNamed(args[0], s.Namespace)
			if err = errors.Join(err, s.Output.validate()); err != nil {
				return usage(err)
			}
			return s.run(cmd.Context(), name, std)
		},
	}
	flags := cmd.Flags()
	s.Cluster.bind(flags)
	s.Output.bind(flags)
	flags.StringVarP(&s.Namespace, "namespace", "n", s.Namespace, "`namespace` of the pod, if its name does not have it")
	return cmd
}

// podNamed reads NAMESPACE/POD, or POD of a namespace that was given apart.
func podNamed(text, namespace string) (types.NamespacedName, error) {
	before, name, both := strings.Cut(text, "/")
	switch {
	case !both && namespace == "":
		return types.NamespacedName{}, fmt.Errorf("say in which namespace pod %q is: NAMESPACE/POD", text)
	case !both:
		return types.NamespacedName{Namespace: namespace, Name: text}, nil
	case namespace != "" && namespace != before:
		return types.NamespacedName{}, fmt.Errorf("the pod is in namespace %q or %q: leave one out", before, namespace)
	case before == "" || name == "" || strings.Contains(name, "/"):
		return types.NamespacedName{}, fmt.Errorf("%q is not NAMESPACE/POD", text)
	}
	return types.NamespacedName{Namespace: before, Name: name}, nil
}

func (s *podPolicySettings) run(ctx context.Context, name types.NamespacedName, std streams) error {
	ctrllog.SetLogger(logr.Discard())
	reader, err := s.Cluster.reader()
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	pod, err := policies.OfPod(ctx, reader, name)
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	if err := s.Output.write(std.Out, pod, pod.Text); err != nil {
		return err
	}
	if len(pod.Problems) > 0 {
		return exit{code: exitUnhealthy}
	}
	return nil
}
