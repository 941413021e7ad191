# What one does with this repository. "make help" lists it.
#
# Pass more to Go's tools with these:
#   TESTS    packages to test, bench and fuzz         (./...)
#   BENCH    which benchmarks, BENCHTIME how long each  (.)  (1s)
#   FUZZTIME how long each fuzz test runs              (30s)
#   LABRUNS  how often lab-test proves the lab         (1)
#   SOAK     how long lab-soak breaks the whole road   (15m)
#   VERSION  the release that images are of            (devel- and the commit)
#   REGISTRY where publish pushes them
#   FAIRWAY_TOOLS  another folder for what "make tools" installs (.tools)

SHELL       := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO        ?= go
TESTS     ?= ./...
BENCH     ?= .
BENCHTIME ?= 1s
FUZZTIME  ?= 30s
LABRUNS   ?= 1
SOAK      ?= 15m
VERSION   ?=
REGISTRY  ?=

# Where Debian has nft, which people's PATH may lack.
export PATH := $(PATH):/usr/sbin

# As in production; and one setting for all targets lets them share Go's cache.
export CGO_ENABLED := 0

# The modules with a go.mod of their own.
MODULES := . dns $(patsubst %/go.mod,%,$(wildcard test/tools/*/go.mod))

# What install.sh puts in place; the absolute path holds in every folder.
TOOLS := $(or $(FAIRWAY_TOOLS),$(CURDIR)/.tools)/bin

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##### Build

.PHONY: build
build: ## Build the commands into bin/
	$(GO) build -ldflags '-s -w' -o bin/ ./cmd/...

# Every commit gives the same bytes, on any machine with the same Go.
.PHONY: images
images: ## Build the images into dist/, for amd64 and arm64 (VERSION=v1.2.3): see docs/images.md
	$(GO) run ./images/cmd/images build $(if $(VERSION),--version '$(VERSION)')

.PHONY: publish
publish: ## Push the images in dist/, and a chart, to a registry (REGISTRY=ghcr.io/fairwaynet CHART=chart.tgz OVERWRITE=1)
	$(GO) run ./images/cmd/images publish --registry '$(REGISTRY)' $(if $(CHART),--chart '$(CHART)') $(if $(OVERWRITE),--overwrite)

# Everything that a release consists of, below dist/. publish then pushes the images and the chart.
.PHONY: release
release: tools-helm images ## Build a release into dist/: images, chart, programs, checksums (VERSION=v1.2.3)
	@charts/package.sh '$(VERSION)' dist
	@cmd/fairway/release.sh '$(VERSION)' dist/release
	@images/checksums.sh '$(VERSION)' dist

.PHONY: images-pins
images-pins: ## Pin the newest Debian packages for the images
	$(GO) run ./images/cmd/images pins

.PHONY: generate
generate: ## Write the generated files anew
	$(GO) generate ./...

.PHONY: clean
clean: ## Remove what build made
	rm -rf bin dist

.PHONY: clean-tools
clean-tools: ## Remove what tools installed
	rm -rf $(dir $(TOOLS))

##### Tools: pinned, verified by hash, installed once

.PHONY: tools
tools: tools-envoy tools-cluster tools-proxy tools-acme tools-scan tools-helm tools-images tools-nft tools-cni ## Install what the tests run: Envoy, etcd, kube-apiserver, kubectl, kube-proxy, Pebble, sslyze, Helm, nft, iptables, ip, CNI plugins

.PHONY: tools-envoy
tools-envoy: ## Install Envoy, all that the demo needs
	@test/tools/install.sh envoy

.PHONY: tools-cluster
tools-cluster: ## Install etcd, kube-apiserver and kubectl
	@test/tools/install.sh etcd kube-apiserver kubectl

.PHONY: tools-acme
tools-acme: ## Install Pebble, a certificate authority, and its DNS server
	@test/tools/install.sh pebble pebble-challtestsrv

.PHONY: tools-lab
tools-lab: ## Install what the lab runs besides: kubelet, containerd, runc, CoreDNS, …
	@test/tools/debian.sh gcc gcc
	@test/tools/debian.sh libc6-dev /usr/include/stdio.h
	@test/tools/debian.sh libseccomp-dev /usr/include/seccomp.h
	@test/tools/install.sh etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy \
		containerd containerd-shim-runc-v2 ctr runc pause coredns \
		cni/loopback cni/ptp cni/host-local cni/portmap

# Fairway takes Services over from it.
.PHONY: tools-proxy
tools-proxy: ## Install kube-proxy
	@test/tools/install.sh kube-proxy

# The plugins that people chain after ours.
.PHONY: tools-cni
tools-cni: ## Install reference CNI plugins and cnitool
	@test/tools/install.sh cni/bandwidth cni/portmap cni/tuning cnitool

# What the kernel holds is listed by nft, too: it must be able to read what we write.
# Others' rules are made by both.
.PHONY: tools-nft
tools-nft: ## Install nft, iptables and ip, from Debian's packages
	@test/tools/debian.sh nftables nft
	@test/tools/debian.sh iproute2 ip
	@test/tools/debian.sh iptables iptables-nft

.PHONY: tools-scan
tools-scan: ## Install sslyze, a scanner of TLS
	@test/tools/install.sh sslyze

.PHONY: tools-helm
tools-helm: ## Install Helm 3 and 4, and what else checks the chart: kubeconform, promtool
	@test/tools/install.sh helm3 helm4 kubeconform promtool

.PHONY: tools-images
tools-images: ## Fetch what the images hold: Envoy and Debian packages, for all architectures
	@$(GO) run ./images/cmd/images fetch

.PHONY: tools-peers
tools-peers: ## Install the ingress controllers that benchmarks run beside ours
	@test/tools/install.sh contour

.PHONY: tools-network
tools-network: ## Install the networks of pods that benchmarks run beside ours, and iperf3
	@test/tools/install.sh cni/bridge cni/ptp cni/host-local flannel
	@test/tools/debian.sh iperf3 iperf3

.PHONY: tools-lint
tools-lint: ## Install golangci-lint and actionlint
	@test/tools/install.sh golangci-lint actionlint

##### Test

.PHONY: test
test: tools ## Run all tests, and say where the time went
	@GO=$(GO) test/suite.sh -- $(TESTS)
	@cd dns && $(GO) test -vet off ./...

.PHONY: race
race: tools ## Run all tests with the race detector, in random order
	CGO_ENABLED=1 $(GO) test -race -shuffle on -timeout 30m $(TESTS)

# Where goroutines meet. What these start has been started by "test" before.
.PHONY: race-core
race-core: tools-cluster tools-acme ## Run the tests of server, controllers and ACME with the race detector
	CGO_ENABLED=1 $(GO) test -vet off -race -short -shuffle on -timeout 30m ./xds/server/... ./controllers/... ./tls/...

# Takes hours, and wants a machine that does nothing else.
.PHONY: soak
soak: tools ## Run all tests at full length: outages of minutes, floods, promised times, fuzzing (FUZZTIME=5m); hours
	@FAIRWAY_SOAK=1 GO=$(GO) test/suite.sh -count 1 -p 1 -timeout 2h -- $(TESTS)
	@$(MAKE) fuzz FUZZTIME=$(if $(filter file,$(origin FUZZTIME)),5m,$(FUZZTIME))
	@if [[ $$(id -u) == 0 ]]; then $(MAKE) lab-test LABRUNS=3 && FAIRWAY_LAB_HELM=helm3 $(MAKE) lab-test && $(MAKE) lab-network lab-policy lab-dns e2e lab-soak lab-e2e; else echo "not root: the lab is left out" >&2; fi

.PHONY: bench
bench: tools tools-peers tools-network ## Run the benchmarks (BENCH=regexp BENCHTIME=1s)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 2h -p 1 $(TESTS)

# What these print goes into docs/benchmarks.md, which says what to choose.
.PHONY: bench-peers
bench-peers: tools tools-peers ## Run other ingress controllers beside ours (FAIRWAY_BENCH_HOSTS=100,1000)
	$(GO) test -run '^$$' -bench '^BenchmarkPeers$$' -benchtime 1x -timeout 3h ./test/bench

.PHONY: bench-dataplane
bench-dataplane: tools ## Run Envoy as we configure it beside one configured by hand (FAIRWAY_BENCH_WITHOUT=.)
	$(GO) test -run '^$$' -bench '^BenchmarkDataPlane$$' -benchtime 1x -timeout 1h ./test/bench

.PHONY: bench-tls
bench-tls: tools ## Run Envoy with 1 and 5,000 certificates of ours beside one with one by hand (FAIRWAY_BENCH_HOSTS=5000)
	$(GO) test -run '^$$' -bench '^BenchmarkTLS$$' -benchtime 1x -timeout 1h ./test/bench

.PHONY: bench-cni
bench-cni: tools-cluster tools-nft tools-network ## Run the plugin and packets of pods beside bridge, ptp and flannel (BENCH=Plugin, BENCH=Packets)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 2h ./test/bench/cni

.PHONY: bench-proxy
bench-proxy: tools-cluster tools-nft tools-lab ## Run Services beside kube-proxy's (FAIRWAY_BENCH_SERVICES=10,1000,10000)
	$(GO) test -run '^$$' -bench '^BenchmarkServices$$' -benchtime 1x -timeout 1h -v ./test/nodes

.PHONY: bench-policy
bench-policy: tools-nft ## Allowed flows with 0, 100 and 1,000 policies, and the time from a label to the kernel among 10,000 pods
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 20m -v ./proxy/policy/enforce

.PHONY: bench-dns
bench-dns: tools-cluster tools-lab tools-images tools-helm ## Ask the cluster's DNS through its Service and its pod, and weigh it with 1,000 and 10,000 Services
	$(GO) test -run '^$$' -bench '^BenchmarkMemory$$' -benchtime 1x -timeout 1h -v ./test/dns
	$(GO) test -tags lab,network -run '^$$' -bench '^BenchmarkDNS$$' -benchtime 1x -timeout 1h -v ./test/lab

.PHONY: fuzz
fuzz: tools ## Run each fuzz test for a while (FUZZTIME=30s)
	@GO=$(GO) FUZZTIME=$(FUZZTIME) test/fuzz.sh

##### Lab: a Kubernetes of several machines on this machine (root)

.PHONY: lab
lab: tools-lab tools-helm ## Build bin/lab, which runs one: see docs/lab.md
	$(GO) build -o bin/ ./test/lab/cmd/lab

# The first time builds Kubernetes, Envoy's image and the rest from source: some minutes.
.PHONY: up
up: tools-lab tools-acme tools-helm tools-images lab build ## Run all of Fairway in a cluster of two nodes, with a shop behind it (root); "make down" ends it
	@test/tools/debian.sh curl curl
	@bin/lab up --fairway=everything --families=dual --shop

.PHONY: down
down: ## End what "make up" runs, and remove it (root)
	@bin/lab down

.PHONY: lab-test
lab-test: tools-envoy tools-lab tools-images tools-helm ## Prove the lab (LABRUNS=3 times)
	$(GO) test -vet off -tags lab -count $(LABRUNS) -timeout 20m -v ./test/lab/...

.PHONY: e2e
e2e: tools-lab tools-acme tools-images tools-helm ## Prove the whole road in a lab: load from outside while everything is replaced, killed and off (root)
	$(GO) test -tags lab,network -run '^(TestTheWholeRoad|TestUninstall)$$' -count $(LABRUNS) -timeout 40m -v ./test/lab

.PHONY: lab-soak
lab-soak: tools-lab tools-acme tools-images tools-helm ## Break the whole road at random under load (SOAK=15m), and compare nodes with a fresh start (root)
	FAIRWAY_SOAK_FOR=$(SOAK) $(GO) test -tags lab,network -run '^TestSoak$$' -count 1 -timeout 0 -v ./test/lab

# What takes longer than continuous integration has time for.
.PHONY: lab-network
lab-network: tools-lab tools-images tools-helm ## Prove the network in labs: other MTUs, full nodes and ranges, nodes that come back, no API server, addresses, Services under load
	$(GO) test -tags lab,network -run '^(TestNetworkMore|TestAddresses|TestBalancersUnderLoad|TestServicesUnderLoad)$$' -count $(LABRUNS) -timeout 30m -v ./test/lab

.PHONY: lab-policy
lab-policy: tools-lab tools-images tools-helm ## Prove NetworkPolicies in a lab: pods by the hundred, agents that are killed and replaced, tables that somebody flushes
	$(GO) test -tags lab,network -run '^TestPolicies$$' -count $(LABRUNS) -timeout 30m -v ./test/lab

.PHONY: lab-dns
lab-dns: tools-lab tools-images tools-helm ## Prove the cluster's DNS in a lab: taking over, roll-outs and drains under load
	$(GO) test -tags lab,network -run '^TestDNS$$' -count $(LABRUNS) -timeout 30m -v ./test/lab

# What this prints goes into docs/benchmarks.md.
.PHONY: bench-lab
bench-lab: tools-lab tools-images tools-helm ## Start 50 pods at once on a node, with Fairway's network and with the reference network
	$(GO) test -tags lab -run '^$$' -bench '^BenchmarkPodStart$$' -benchtime 1x -timeout 1h ./test/lab

# What cannot pass in a lab; docs/lab.md says why.
E2E_SKIP := \[(Serial|Disruptive)\]|NetworkPolicy|SCTPConnectivity|Feature:(Ingress|PerformanceDNS|GCE|.*Topology)|Internet connection|cleanup finalizer|ports of a (UDP|TCP) service|Local.*should work for type=LoadBalancer|not assigned to a node|iperf2

# Kubernetes' own end-to-end tests: the suite takes minutes to build.
FOCUS ?= \[sig-network\].*\[Conformance\]
.PHONY: tools-e2e
tools-e2e:
	@test/tools/debian.sh bind9-dnsutils dig
	@test/tools/debian.sh curl curl
	@test/tools/debian.sh gawk awk
	@test/tools/debian.sh iputils-ping ping
	@test/tools/debian.sh netcat-openbsd nc
	@test/tools/debian.sh wget wget
	@test/tools/install.sh agnhost e2e.test ginkgo

.PHONY: lab-e2e
lab-e2e: lab tools-nft tools-e2e ## Run Kubernetes' own tests in a lab (FOCUS=regexp, E2E=--reference)
	bin/lab e2e --name e2e --focus '$(FOCUS)' $(E2E)

.PHONY: conformance
conformance: lab-e2e ## Run all of Kubernetes' conformance of the network on Fairway's pod network and Services

# Three specs need sockets of SCTP, for which the kernel must have a module.
.PHONY: conformance-policy
conformance-policy: lab tools-nft tools-e2e ## Run Kubernetes' tests of NetworkPolicies, and network-policy-api's of ClusterNetworkPolicies, on Fairway's pod network
	bin/lab e2e --name e2e --focus 'NetworkPolicy' --skip '\[Serial\]|\[Disruptive\]|SCTPConnectivity'
	$(GO) test -tags lab,network -run '^TestClusterNetworkPolicies$$' -count 1 -timeout 60m -v ./test/lab/e2e

.PHONY: conformance-services
conformance-services: lab tools-nft tools-e2e ## Run what Kubernetes tests of Services, DNS and load balancers on all of Fairway, in both families; see docs/lab.md
	bin/lab e2e --name e2e --everything --families dual --focus '\[sig-network\].*\[Conformance\]|\[sig-network\] (Services|LoadBalancers|DNS|Networking|EndpointSlice|HostPort)' --skip '$(E2E_SKIP)'

##### Check

.PHONY: lint
lint: tools-lint ## Run the linters
	$(TOOLS)/golangci-lint run
	cd dns && $(TOOLS)/golangci-lint run
	$(TOOLS)/actionlint -shellcheck= -pyflakes=

.PHONY: verify
verify: ## Check format, go.mod, generated files and lint
	@test/verify.sh $(MODULES)
	@$(MAKE) lint

##### Show

.PHONY: demo
demo: ## Serve examples/ on this machine, without a cluster
	@./examples/demo.sh
