(module ;; writes 200 KB, in 50 places
  (memory 54)
  (func (export "write") (result i32) (local $i i32)
    (local.set $i (i32.const 49))
    (loop $l
      (memory.fill (i32.mul (local.get $i) (i32.const 65536)) (i32.const 7) (i32.const 4096))
      (br_if $l (i32.ge_s (local.tee $i (i32.sub (local.get $i) (i32.const 1))) (i32.const 0))))
    (i32.const 0)))
