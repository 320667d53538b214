import torch,tempfile,pathlib
from mbc_cli.model.llm.backbone import Backbone
from tests.support.tiny_models import save_language_model
for fam in ["llama","mistral","qwen2","qwen3"]:
    d=pathlib.Path(tempfile.mkdtemp()); save_language_model(d,fam)
    a=Backbone.from_pretrained(str(d)); b=Backbone.from_pretrained(str(d),to_train=False)
    print(fam,type(a.transformer).__name__,type(b.transformer).__name__)
    ids=torch.randint(0,50,(3,11)); mask=torch.ones_like(ids)
    print(torch.equal(a(ids,mask),b(ids,mask)))
    mask[0,:4]=0
    print((a(ids,mask)-b(ids,mask))[mask>0].abs().max())
