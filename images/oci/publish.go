package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Artifact is what a registry is to hold under a tag.
type Artifact struct {
	// Repository is where: "ghcr.io/fairwaynet/fairway".
	Repository string
	// Version becomes the tag.
	Version string

	content content
}

// content is an image, or an index.
type content interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

// In is the image as a repository of a registry is to hold it.
func (i Index) In(repository string) Artifact {
	return Artifact{Repository: repository, Version: i.Version, content: i.index}
}

// Publisher publishes artifacts. It takes the name and the password of a registry from
// where "docker login" has put them.
type Publisher struct {
	// Overwrite allows that a tag gets another content.
	Overwrite bool
	// PlainHTTP speaks to the registry without TLS.
	PlainHTTP bool
	// Say is called with each step.
	Say func(line string)
}

// state is an artifact and what the registry has under its tag.
type state struct {
	Artifact
	tag       name.Tag
	digest    v1.Hash
	published bool
}

// Publish brings all artifacts to their registries. It changes nothing if one of the
// tags has another content. What a run that died has pushed need not be pushed again,
// and a tag appears only when everything below it is there.
func (p Publisher) Publish(ctx context.Context, artifacts ...Artifact) error {
	var states []state
	var refused []error
	for _, artifact := range artifacts {
		s, err := p.look(ctx, artifact)
		if err != nil {
			refused = append(refused, fmt.Errorf("publish %s: %w", artifact.Repository, err))
		}
		states = append(states, s)
	}
	if err := errors.Join(refused...); err != nil {
		return err
	}
	for _, s := range states {
		if s.published {
			p.Say(fmt.Sprintf("%s@%s is there already", s.tag, s.digest))
			continue
		}
		if err := remote.Push(s.tag, s.content, p.options(ctx)...); err != nil {
			return fmt.Errorf("publish %s: %w: run it again, which pushes only what is missing", s.tag, err)
		}
		p.Say(fmt.Sprintf("%s@%s is published", s.tag, s.digest))
	}
	return nil
}

// look asks the registry for the tag.
func (p Publisher) look(ctx context.Context, artifact Artifact) (state, error) {
	how := []name.Option{name.StrictValidation}
	if p.PlainHTTP {
		how = append(how, name.Insecure)
	}
	s := state{Artifact: artifact}
	var err error
	if s.tag, err = name.NewTag(artifact.Repository+":"+TagOf(artifact.Version), how...); err != nil {
		return s, err
	}
	if s.digest, err = artifact.content.Digest(); err != nil {
		return s, err
	}
	found, err := remote.Head(s.tag, p.options(ctx)...)
	switch missing := (*transport.Error)(nil); {
	case errors.As(err, &missing) && missing.StatusCode == http.StatusNotFound:
		return s, nil
	case err != nil:
		return s, fmt.Errorf("look for %s: %w: is the address right, and have you logged in (docker login)?", s.tag, err)
	case found.Digest != s.digest && !p.Overwrite:
		return s, fmt.Errorf("the registry has %s with another content (%s there, %s here), and a release never changes: "+
			"publish a new version, or replace this one with --overwrite", s.tag, found.Digest, s.digest)
	}
	s.published = found.Digest == s.digest
	return s, nil
}

func (p Publisher) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("fairway-images"),
	}
}

// TagOf is the tag of a version. A tag cannot hold "+", so that it becomes "_", as Helm
// has it for charts.
func TagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }
