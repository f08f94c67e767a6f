package config

import "reflect"

// Metrics says who may scrape /metrics, and how. All of it counts from the next
// connection on.
type Metrics struct {
	TLS   ServerTLS `yaml:"tls" doc:"Certificate of the listener of metrics; without it http."`
	Token Secret    `yaml:"token" doc:"What a scraper must send as a bearer token; without it anybody who reaches the listener may scrape."`
}

// ServerTLS is the certificate of a listener.
type ServerTLS struct {
	Cert string `yaml:"cert" path:"file" doc:"PEM file with the certificate and those between it and its authority; it is read again when it changes."`
	Key  string `yaml:"key" path:"file" doc:"PEM file with its key."`
}

func (k *checker) metrics(m Metrics) {
	if (m.TLS.Cert == "") != (m.TLS.Key == "") {
		k.fail("metrics.tls", "has a cert or a key without the other")
	}
	k.secrets("metrics", reflect.ValueOf(m))
}
