;; Floods of HTTP, and requests that are no requests. The input is the request's JSON.
;; @limits http_calls=10 http_out=1MiB http_in=1MiB input=8MiB time=5s
;; @call flood "{\"url\":\"http://app/\"}" => limit "more than 10 HTTP calls"
;; @call large_body "{\"url\":\"http://app/\"}" => limit "sent more than 1048576 bytes over HTTP"
;; @call large_answers "{\"url\":\"http://app/large\"}" => limit "received more than 1048576 bytes over HTTP"
;; @call headers "{\"url\":\"http://app/\"}" => limit "."
;; @call no_request => trap "http_request: the request is no JSON"
;; @call no_body "{\"url\":\"http://app/\"}" => trap "offset 77 is not that of a block"
;; @call request "" => trap "http_request: the request is no JSON"
;; @call request "{" => trap "http_request: the request is no JSON"
;; @call request "\x00\x01\xff" => trap "http_request: the request is no JSON"
;; @call request "{\"url\":7}" => trap "http_request: the request is no JSON"
;; @call request "{\"url\":\"http://app/\",\"headers\":[]}" => trap "http_request: the request is no JSON"
;; @call request "{\"url\":\"http://app/\",\"headers\":{\"a\":{}}}" => trap "http_request: the request is no JSON"
;; @call request "{\"url\":\"http://app/\"} {\"url\":\"http://app/\"}" => trap "http_request: the request is no JSON"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
  (import "extism:host/env" "http_headers" (func $http_headers (result i64)))
  (memory 1)
  (func (export "request") (drop (call $http_request (call $input_offset) (i64.const 0))))
  (func (export "flood") (loop (drop (call $http_request (call $input_offset) (i64.const 0))) (br 0)))
  (func (export "large_body") (drop (call $http_request (call $input_offset) (call $alloc (i64.const 2097152)))))
  (func (export "large_answers") (loop (drop (call $http_request (call $input_offset) (i64.const 0))) (br 0)))
  (func (export "headers")
    (drop (call $http_request (call $input_offset) (i64.const 0)))
    (loop (drop (call $alloc (i64.const 65536))) (drop (call $http_headers)) (br 0)))
  (func (export "no_request") (drop (call $http_request (i64.const 0) (i64.const 0))))
  (func (export "no_body") (drop (call $http_request (call $input_offset) (i64.const 77))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
