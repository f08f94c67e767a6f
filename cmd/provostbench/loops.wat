(module
  (memory 1)
  (func (export "arithmetic") (param $n i32) (result i32) (local $x i32)
    (local.set $x (i32.const 1))
    (loop $l
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  ;; a dot product of two arrays of 64 vectors, again and again
  (func (export "simd") (param $n i32) (result i32) (local $i i32) (local $s v128)
    (loop $l
      (local.set $i (i32.const 1008))
      (loop $k
        (local.set $s (i32x4.add (local.get $s)
          (i32x4.mul (v128.load (local.get $i)) (v128.load offset=1024 (local.get $i)))))
        (local.set $s (i32x4.add (local.get $s)
          (i32x4.mul (v128.load offset=2048 (local.get $i)) (v128.load offset=3072 (local.get $i)))))
        (local.set $s (v128.xor (local.get $s) (v128.load offset=4096 (local.get $i))))
        (br_if $k (i32.gt_s (local.tee $i (i32.sub (local.get $i) (i32.const 16))) (i32.const 0))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32x4.extract_lane 0 (local.get $s))))
