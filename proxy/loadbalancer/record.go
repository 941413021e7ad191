package loadbalancer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	coordination "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// What tells our Leases from others, in their namespace.
const (
	// LeaseLabel has one of the kinds.
	LeaseLabel    = "fairway.dev/lease"
	AddressKind   = "address"
	AnnouncerKind = "announcer"

	addressPrefix   = "fairway-address-"
	announcerPrefix = "fairway-announcer-"

	addressAnnotation  = "fairway.dev/address"
	servicesAnnotation = "fairway.dev/services"
	poolAnnotation     = "fairway.dev/address-pool"
	// provedAnnotation says that nobody else answered for the address before its first use.
	provedAnnotation = "fairway.dev/proved"
	// foreignAnnotation is the MAC of who did.
	foreignAnnotation = "fairway.dev/answered-by"
)

// Record is what is agreed about an address: the Services that have it, and the node that
// answers for it.
type Record struct {
	Address  netip.Addr
	Services []types.NamespacedName // in order
	Pool     string
	Holder   string    // a node; empty: nobody
	Since    time.Time // when the holder took it, by the holder's clock; zero: not told
	Proved   bool      // nobody else answers for it
	Foreign  string    // the MAC of who does
}

// RecordName is the name of the Lease of an address.
func RecordName(a netip.Addr) string {
	return addressPrefix + strings.ReplaceAll(a.StringExpanded(), ":", "-")
}

// ReadRecord reads a Lease. It returns false if it is none of an address.
func ReadRecord(lease *coordination.Lease) (Record, bool) {
	a, err := netip.ParseAddr(lease.Annotations[addressAnnotation])
	if err != nil || lease.Labels[LeaseLabel] != AddressKind || lease.Name != RecordName(a) {
		return Record{}, false
	}
	r := Record{
		Address: a, Pool: lease.Annotations[poolAnnotation],
		Proved: lease.Annotations[provedAnnotation] == "true", Foreign: lease.Annotations[foreignAnnotation],
	}
	if lease.Spec.HolderIdentity != nil {
		r.Holder = *lease.Spec.HolderIdentity
	}
	if lease.Spec.AcquireTime != nil {
		r.Since = lease.Spec.AcquireTime.Time
	}
	var names []string
	if err := json.Unmarshal([]byte(lease.Annotations[servicesAnnotation]), &names); err != nil {
		return r, true // nobody has it
	}
	for _, each := range names {
		if namespace, name, ok := strings.Cut(each, "/"); ok {
			r.Services = append(r.Services, types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
	return r, true
}

// Write writes the record into its Lease. A holder that is new is a transition.
func (r Record) Write(lease *coordination.Lease) error {
	slices.SortFunc(r.Services, func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) })
	names := make([]string, len(r.Services))
	for i, s := range r.Services {
		names[i] = s.String()
	}
	text, err := json.Marshal(names)
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", r.Address, err)
	}
	lease.Name = RecordName(r.Address)
	if lease.Labels == nil {
		lease.Labels = map[string]string{}
	}
	lease.Labels[LeaseLabel] = AddressKind
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	for key, value := range map[string]string{
		addressAnnotation: r.Address.String(), servicesAnnotation: string(text), poolAnnotation: r.Pool, foreignAnnotation: r.Foreign,
		provedAnnotation: map[bool]string{true: "true"}[r.Proved],
	} {
		if value == "" {
			delete(lease.Annotations, key)
		} else {
			lease.Annotations[key] = value
		}
	}
	before := ""
	if lease.Spec.HolderIdentity != nil {
		before = *lease.Spec.HolderIdentity
	}
	if before == r.Holder {
		return nil
	}
	lease.Spec.AcquireTime = nil
	if lease.Spec.HolderIdentity = nil; r.Holder != "" {
		if !r.Since.IsZero() {
			lease.Spec.AcquireTime = &metav1.MicroTime{Time: r.Since}
		}
		transitions := int32(1)
		if lease.Spec.LeaseTransitions != nil {
			transitions += *lease.Spec.LeaseTransitions
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseTransitions = &r.Holder, &transitions
	}
	return nil
}

// AnnouncerName is the name of the Lease by which a node that holds addresses says that it
// lives.
func AnnouncerName(node string) string {
	name := announcerPrefix + node
	if len(name) <= validation.DNS1123SubdomainMaxLength {
		return name
	}
	sum := fnv.New128a()
	_, _ = sum.Write([]byte(node)) // never fails
	return fmt.Sprintf("%s%x", announcerPrefix, sum.Sum(nil))
}

// AnnouncerOf reads such a Lease: the node, and for how long what it says counts.
func AnnouncerOf(lease *coordination.Lease) (node string, lasts time.Duration, ok bool) {
	if lease.Labels[LeaseLabel] != AnnouncerKind || lease.Spec.HolderIdentity == nil || lease.Spec.LeaseDurationSeconds == nil ||
		lease.Name != AnnouncerName(*lease.Spec.HolderIdentity) {
		return "", 0, false
	}
	return *lease.Spec.HolderIdentity, min(time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second, Restart), true
}
