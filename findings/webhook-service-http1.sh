#!/usr/bin/env bash
# k8s.io/apiserver 0.37.2, the API server's client of admission webhooks: HTTP/1.1 for a Service, HTTP/2
# for a URL on the loopback address.
# Guess: a webhook that offers HTTP/2 is called by HTTP/2, so that one connection carries all reviews, and
# GOAWAY ends it without loss at a shutdown. Tests with a loopback URL (as of envtest) show just that.
# Seen: a webhook that is configured by `service` is called by HTTP/1.1 (the workaround for
# kubernetes/kubernetes#75791), by as many connections as there are reviews at a time. A busy connection
# that the webhook closes between two reviews loses the next one: only an answer with `Connection: close`
# ends it safely.
# Needs: Go 1.26 or newer, the Go module proxy.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > go.mod <<'MOD'
module finding

go 1.26.0

require (
	k8s.io/api v0.37.2
	k8s.io/apiserver v0.37.2
)
MOD
cat > main.go <<'GO'
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	admission "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/util/webhook"
)

// certificate returns one for the names of the webhook, and its authority.
func certificate() (tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, DNSNames: []string{"hook.shop.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, bundle
}

type resolver struct{ to *url.URL }

func (r resolver) ResolveEndpoint(string, string, int32) (*url.URL, error) { return r.to, nil }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	seen := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.Proto
	}))
	pair, bundle := certificate()
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.EnableHTTP2 = true
	server.StartTLS()
	at, err := url.Parse(server.URL)
	check(err)

	versions := []schema.GroupVersion{admission.SchemeGroupVersion}
	clients, err := webhook.NewClientManager(versions, admission.AddToScheme)
	check(err)
	authentication, err := webhook.NewDefaultAuthenticationInfoResolver("")
	check(err)
	clients.SetAuthenticationInfoResolver(authentication)
	clients.SetServiceResolver(resolver{at})
	service := &webhook.ClientConfigService{Name: "hook", Namespace: "shop", Port: 443}
	for _, config := range []webhook.ClientConfig{
		{Name: "url", CABundle: bundle, URL: server.URL},
		{Name: "service", CABundle: bundle, Service: service},
	} {
		client, err := clients.HookClient(config)
		check(err)
		client.Post().Body([]byte("{}")).Do(context.Background())
		fmt.Println(config.Name, seen)
	}
}
GO
export GOFLAGS=-mod=mod GOTOOLCHAIN=auto
go mod tidy >/dev/null 2>&1
seen=$(go run .)
echo "$seen"
test "$seen" = "$(printf 'url HTTP/2.0\nservice HTTP/1.1')"
