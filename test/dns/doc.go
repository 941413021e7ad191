// Package dns tests the cluster's DNS as it ships: the program of the image beside a real API server,
// with the rights that the chart grants, asked by a client over UDP and TCP.
package dns
