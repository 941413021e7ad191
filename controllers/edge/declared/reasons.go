package declared

import "github.com/fairwaynet/fairway/api/problem"

// Reasons of Problems with what a ConfigMap declares (docs/problems.md). All are
// Problems of the ConfigMap.
const (
	// ReasonConfigMapNotFound: there is no such ConfigMap.
	ReasonConfigMapNotFound problem.Reason = "ConfigMapNotFound"
	// ReasonManifestInvalid: an entry is no manifest of a kind that can be
	// declared.
	ReasonManifestInvalid problem.Reason = "ManifestInvalid"
	// ReasonManifestRefused: the API server refuses the object.
	ReasonManifestRefused problem.Reason = "ManifestRefused"
	// ReasonObjectNotOurs: somebody else made an object of that name.
	ReasonObjectNotOurs problem.Reason = "ObjectNotOurs"
	// ReasonKindNotInstalled: the cluster does not have the kind.
	ReasonKindNotInstalled problem.Reason = "KindNotInstalled"
	// ReasonOwnerNotFound: the ClusterRole that is to own the objects cannot be
	// read.
	ReasonOwnerNotFound problem.Reason = "OwnerNotFound"
)
