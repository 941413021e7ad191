// Package assembly runs reconcilers that together keep one picture. A first pass
// over the objects builds the whole picture, and the assembly publishes it. From
// then on a controller for each reconciler keeps that reconciler's share.
//
// It knows no kind of object: each reconciler is a Part, which brings its
// own watches and publisher. Its invariants: no part of the picture is published
// before all of it is built; what the first pass finds is published in the order
// of the parts; and no event is lost between the first pass and the controllers,
// because the watches begin before it and the workers after it.
package assembly

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/fairwaynet/fairway/api/problem"
)

// Assembly runs Parts together. It is a manager.Runnable.
type Assembly struct {
	// Parts are in the order in which they are built and published: a part comes
	// before the parts that refer to it.
	Parts []Part
	// Settle waits briefly for what the parts asked for while they were built;
	// nil: they ask for nothing.
	Settle func(context.Context)
	// Report takes the Problems that the first pass found for a reconciler's key.
	Report func(ctx context.Context, key any, problems []problem.Problem)
	// Await returns when the first pass may begin, or when ctx ends; nil: at once.
	Await func(context.Context)
	// Begin is called right before the first pass. The function that it returns is
	// called with the pass's Problems when the whole picture is published. Begin
	// may be nil.
	Begin func() (published func(Problems))
	// Beside are functions that run for as long as the controllers do.
	Beside []func(context.Context) error
	Log    logr.Logger
}

// Part is one reconciler of an Assembly. It is a *Kind.
type Part interface {
	// build runs the first pass of the part: it finds all keys and builds each.
	build(ctx context.Context, problems Problems) error
	// complete builds again the keys that wait for something they asked for.
	complete(ctx context.Context, problems Problems) error
	// publish publishes what was built, and forget drops it.
	publish()
	forget()
	// controller makes the controller that keeps the part.
	controller(log logr.Logger) (controller, error)
}

// controller is a controller whose watches can begin before its workers.
type controller interface {
	Warmup(context.Context) error
	Start(context.Context) error
}

// Problems are what a pass finds, by the reconciler's key that has them.
type Problems map[any][]problem.Problem

// All returns all Problems, in order and without duplicates.
func (p Problems) All() []problem.Problem {
	var all []problem.Problem
	for _, problems := range p {
		all = append(all, problems...)
	}
	return problem.Sort(all)
}

// FirstPass builds the picture that the objects ask for. It publishes and reports
// nothing.
func (a *Assembly) FirstPass(ctx context.Context) (Problems, error) {
	problems := Problems{}
	for _, part := range a.Parts {
		if err := part.build(ctx, problems); err != nil {
			return nil, err
		}
	}
	if a.Settle != nil {
		a.Settle(ctx)
	}
	for _, part := range a.Parts {
		if err := part.complete(ctx, problems); err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// Start publishes the picture of a first pass and keeps it until ctx ends. Start
// the cache first.
func (a *Assembly) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	controllers, err := a.watch(ctx)
	if err != nil {
		return err
	}
	if a.Await != nil {
		a.Await(ctx)
	}
	switch err := a.Open(ctx); {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("first pass: %w", err)
	}
	running, ctx := errgroup.WithContext(ctx)
	for _, beside := range a.Beside {
		running.Go(func() error { return beside(ctx) })
	}
	for _, controller := range controllers {
		running.Go(func() error { return controller.Start(ctx) })
	}
	return running.Wait()
}

// watch begins the watches of all parts. It returns when they have seen all
// objects that exist.
func (a *Assembly) watch(ctx context.Context) ([]controller, error) {
	var all []controller
	for _, part := range a.Parts {
		made, err := part.controller(a.Log)
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	var beginning errgroup.Group // without a context: the watches outlive it
	for _, controller := range all {
		beginning.Go(func() error { return controller.Warmup(ctx) })
	}
	if err := beginning.Wait(); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return all, nil
}

// Open builds the first picture and publishes it. Start calls it; so does a test
// that runs the controllers itself.
func (a *Assembly) Open(ctx context.Context) error {
	published := func(Problems) {}
	if a.Begin != nil {
		published = a.Begin()
	}
	problems, err := a.FirstPass(ctx)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	for _, part := range a.Parts {
		part.publish()
	}
	for key, found := range problems {
		a.Report(ctx, key, found)
	}
	published(problems)
	for _, part := range a.Parts {
		part.forget()
	}
	return nil
}
