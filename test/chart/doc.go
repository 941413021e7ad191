// Package chart tests the Helm chart in charts/fairway: what it renders, what it refuses, and what
// the real API server says to it. All of it holds for the oldest Helm that the chart supports and
// for the newest.
package chart
