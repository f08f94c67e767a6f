// Package host is the domain of Provost: users, connected apps, provisioning
// configs, requests, accounts and their states, with the rules that hold for
// them whatever the database, the connector or the target. The names are those
// of the model system (User Provisioning for Connected Apps). Each
// sub-package adapts one technology to it or is one engine; they know this
// package and not each other. Only cmd wires them together.
package host
