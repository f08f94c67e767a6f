;; Carries out what its input says: records of 32 little-endian bytes, an operation and three numbers. The first number has
;; the result of an earlier record added to it (the third says which; -1 none). The output is each record's result. So that
;; tests can forge any offset, in any order: see the tests of forged offsets.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "length_unsafe" (func $length_unsafe (param i64) (result i64)))
  (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
  (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "error_get" (func $error_get (result i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
  (import "extism:host/env" "http_status_code" (func $http_status_code (result i32)))
  (import "extism:host/env" "http_headers" (func $http_headers (result i64)))
  (import "extism:host/env" "log_trace" (func $log_trace (param i64)))
  (import "extism:host/env" "log_debug" (func $log_debug (param i64)))
  (import "extism:host/env" "log_info" (func $log_info (param i64)))
  (import "extism:host/env" "log_warn" (func $log_warn (param i64)))
  (import "extism:host/env" "log_error" (func $log_error (param i64)))
  (memory 2 2) ;; results, of 8 bytes each

  (func $do (param $op i32) (param $a i64) (param $b i64) (result i64)
    (block $other
    (block $log_error (block $log_warn (block $log_info (block $log_debug (block $log_trace
    (block $http_headers (block $http_status_code (block $http_request (block $var_set (block $var_get (block $config_get
    (block $error_get (block $error_set (block $output_set (block $input_load_u64 (block $input_load_u8 (block $input_offset
    (block $input_length (block $store_u64 (block $store_u8 (block $load_u64 (block $load_u8 (block $length_unsafe (block $length
    (block $free (block $alloc
      (br_table $alloc $free $length $length_unsafe $load_u8 $load_u64 $store_u8 $store_u64 $input_length $input_offset
        $input_load_u8 $input_load_u64 $output_set $error_set $error_get $config_get $var_get $var_set $http_request
        $http_status_code $http_headers $log_trace $log_debug $log_info $log_warn $log_error $other (local.get $op)))
      (return (call $alloc (local.get $a))))
      (call $free (local.get $a)) (return (i64.const 0)))
      (return (call $length (local.get $a))))
      (return (call $length_unsafe (local.get $a))))
      (return (i64.extend_i32_u (call $load_u8 (local.get $a)))))
      (return (call $load_u64 (local.get $a))))
      (call $store_u8 (local.get $a) (i32.wrap_i64 (local.get $b))) (return (i64.const 0)))
      (call $store_u64 (local.get $a) (local.get $b)) (return (i64.const 0)))
      (return (call $input_length)))
      (return (call $input_offset)))
      (return (i64.extend_i32_u (call $input_load_u8 (local.get $a)))))
      (return (call $input_load_u64 (local.get $a))))
      (call $output_set (local.get $a) (local.get $b)) (return (i64.const 0)))
      (call $error_set (local.get $a)) (return (i64.const 0)))
      (return (call $error_get)))
      (return (call $config_get (local.get $a))))
      (return (call $var_get (local.get $a))))
      (call $var_set (local.get $a) (local.get $b)) (return (i64.const 0)))
      (return (call $http_request (local.get $a) (local.get $b))))
      (return (i64.extend_i32_u (call $http_status_code))))
      (return (call $http_headers)))
      (call $log_trace (local.get $a)) (return (i64.const 0)))
      (call $log_debug (local.get $a)) (return (i64.const 0)))
      (call $log_info (local.get $a)) (return (i64.const 0)))
      (call $log_warn (local.get $a)) (return (i64.const 0)))
      (call $log_error (local.get $a)) (return (i64.const 0)))
    (i64.const 0))

  (func (export "run") (local $i i64) (local $at i64) (local $a i64) (local $ref i64) (local $out i64)
    (block $done
      (loop $next
        (br_if $done (i64.gt_u (i64.add (local.get $at) (i64.const 32)) (call $input_length)))
        (local.set $a (call $input_load_u64 (i64.add (local.get $at) (i64.const 8))))
        (local.set $ref (call $input_load_u64 (i64.add (local.get $at) (i64.const 24))))
        (if (i64.lt_u (local.get $ref) (local.get $i))
          (then (local.set $a (i64.add (local.get $a) (i64.load (i32.wrap_i64 (i64.mul (local.get $ref) (i64.const 8))))))))
        (i64.store (i32.wrap_i64 (i64.mul (local.get $i) (i64.const 8)))
          (call $do (i32.wrap_i64 (call $input_load_u64 (local.get $at))) (local.get $a)
            (call $input_load_u64 (i64.add (local.get $at) (i64.const 16)))))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (local.set $at (i64.add (local.get $at) (i64.const 32)))
        (br $next)))
    (local.set $out (call $alloc (i64.mul (local.get $i) (i64.const 8))))
    (local.set $at (i64.const 0))
    (block $end
      (loop $copy
        (br_if $end (i64.ge_u (local.get $at) (i64.mul (local.get $i) (i64.const 8))))
        (call $store_u64 (i64.add (local.get $out) (local.get $at)) (i64.load (i32.wrap_i64 (local.get $at))))
        (local.set $at (i64.add (local.get $at) (i64.const 8)))
        (br $copy)))
    (call $output_set (local.get $out) (i64.mul (local.get $i) (i64.const 8))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
